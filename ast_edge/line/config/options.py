"""Base of every section of line.toml: strict, bounded, and secrets only by reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ast_edge.errors import LineError, reason

Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9._:-]+$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Milliseconds = Annotated[float, Field(ge=0, le=3_600_000)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
_SECRET_BYTES = 4096


def host_port(host: str, port: int) -> str:
    """Format for a URL: an IPv6 address is put in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Options(BaseModel):
    """A section: unknown keys are errors, values are never corrected, and it is immutable.

    `kind` selects what the section is about. `name` appears in messages, metrics and on the page, and must be
    given where two sections have the same kind.
    """

    # Inputs are hidden in errors: a refused URL may contain a password.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )


class Secret(Options):
    """Reference to a secret: an environment variable or a file (systemd's LoadCredential, for example)."""

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either env (name of an environment variable) or file")
        return self

    def read(self, what: str) -> str:
        """Return the secret; `what` names it in errors. Raises LineError if it is missing or empty."""
        if self.env is not None:
            value = os.environ.get(self.env, "")
            where = f"the environment variable {self.env}"
        else:
            value, where = self._from_file(what)
        if not value:
            raise LineError(f"{what}: {where} is empty or not set; put the secret there.")
        return value

    def _from_file(self, what: str) -> tuple[str, str]:
        assert self.file is not None  # noqa: S101 (checked by the validator)
        try:
            with self.file.open("rb") as stream:
                return stream.read(_SECRET_BYTES).decode("utf-8-sig").strip(), f"the file {self.file}"
        except (OSError, UnicodeDecodeError) as exc:
            raise LineError(
                f"{what}: {self.file} cannot be read ({reason(exc)}); check path and permissions."
            ) from exc
