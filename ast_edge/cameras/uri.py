"""What a camera's URI says: `scheme://place?key=value&...`, every key known and every value possible."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from ast_edge.errors import UsageError

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class CameraUri:
    """The parts of a URI; `public` is without user name and password."""

    scheme: str
    place: str = field(repr=False)  # a pipeline may hold an account
    options: Mapping[str, str]
    public: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def option(self, key: str, kind: Callable[[str], _Value], default: _Value) -> _Value:
        """A value of the query. Raises UsageError when it is not one of this kind."""
        if key not in self.options:
            return default
        try:
            return kind(self.options[key])
        except ValueError as exc:
            raise UsageError(f"{self.public}: {key}={self.options[key]} is not possible ({exc}).") from exc

    def check_keys(self, *known: str) -> None:
        """Raise UsageError for a key of the query that is not among `known`."""
        for key in self.options:
            if key not in known:
                raise UsageError(
                    f"{self.public}: there is no option {key}; {self.scheme}:// knows "
                    f"{', '.join(known) if known else 'none'}."
                )


def parse_uri(text: str) -> CameraUri:
    """Split a URI. Raises UsageError for one without a scheme or with a key twice."""
    scheme, colon, _ = text.partition("://")
    if not colon or not scheme.isalnum():
        # What was given is not repeated: there may be a password in it.
        raise UsageError("camera: expected a URI, as in dir:///pictures or v4l2:///dev/video0.")
    try:
        parts = urlsplit(text)
    except ValueError as exc:
        raise UsageError(f"camera {scheme}://: this is no URI ({exc}).") from exc
    if scheme == "rtsp" and "@" in parts.path + parts.query + parts.fragment:
        raise UsageError(
            "camera rtsp://: an @ outside user@host; write / ? # @ in a password as %2F %3F %23 %40, or take "
            "password_env."
        )
    where = parts.netloc.rpartition("@")[2]
    public = _masked(f"{parts.scheme}://{where}{parts.path}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise UsageError(f"{public}: an option is given twice.")
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return CameraUri(
        parts.scheme,
        unquote(where + parts.path),
        options,
        public,
        unquote(user) or None,
        unquote(password) or None,
    )


def _masked(text: str) -> str:
    """Without the accounts that a pipeline's text may hold."""
    text = re.sub(r"(://)[^/\s@]*@", r"\1***@", text)
    return re.sub(r"(?i)((?:user|pass)[a-z_-]*(?:=|%3D))(\S+?)(?=\s|%20|!|$)", r"\1***", text)


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("expected a number above 0")
    return value


def whole(text: str) -> int:
    """A whole number from 0 on."""
    value = int(text)
    if value < 0:
        raise ValueError("expected 0 or more")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("expected 0 to 1")
    return value


def yes_or_no(text: str) -> bool:
    """1 or 0."""
    if text not in {"0", "1"}:
        raise ValueError("expected 0 or 1")
    return text == "1"
