"""The base of every record that goes into a result file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a result file: what is not described is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
