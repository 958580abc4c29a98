"""Camera URIs: `scheme://place?key=value&...`; unknown keys and impossible values are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from ast_edge.errors import UsageError

_Value = TypeVar("_Value")
_ACCOUNT = re.compile(r"([^/\s\"@:=]*:[^/\s\"@]+)@")
_PROPERTY = re.compile(
    r"\b(?:user-id|user-pw|proxy-id|proxy-pw|password|passwd)\s*=\s*(\"[^\"]*\"|[^\s!\"]+)"
)


@dataclass(frozen=True)
class CameraUri:
    """The parts of a URI; `public` is without user name and password, in a pipeline too."""

    scheme: str
    place: str = field(repr=False)
    options: Mapping[str, str]
    public: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def option(self, key: str, kind: Callable[[str], _Value], default: _Value) -> _Value:
        """Return a value of the query. Raises UsageError when it is not of this kind."""
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
                    f"{self.public}: there is no option {key}; {self.scheme}:// accepts "
                    f"{', '.join(known) if known else 'none'}."
                )


def parse_uri(text: str) -> CameraUri:
    """Split a URI. Raises UsageError for one without a scheme or with a key twice."""
    scheme, colon, _ = text.partition("://")
    if not colon or not scheme.isalnum():
        # The text is not repeated in the error: it may contain a password.
        raise UsageError("camera: expected a URI, as in dir:///pictures or v4l2:///dev/video0.")
    try:
        parts = urlsplit(text)
    except ValueError as exc:
        raise UsageError(f"camera {scheme}://: not a valid URI ({exc}).") from None
    if scheme == "rtsp" and "@" in parts.path + parts.query + parts.fragment:
        raise UsageError(
            "camera rtsp://: an @ outside user@host; write / ? # @ in a password as %2F %3F %23 %40, or use "
            "password_env."
        )
    where = parts.netloc.rpartition("@")[2]
    public = _public(f"{parts.scheme}://{where}{parts.path}")
    if "#" in text:
        raise UsageError(f"{public}: text after # would be ignored; write %23 for a # in a name.")
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


def secrets_in(text: str) -> list[str]:
    """Return accounts in a text, percent-decoded: `user:password` of a URI, and element properties."""
    accounts = [found[1] for found in _ACCOUNT.finditer(text)]
    passwords = [account.partition(":")[2] for account in accounts]
    return [secret for secret in (*accounts, *passwords, *_PROPERTY.findall(text)) if secret.strip('"')]


def masked(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in the text with ***."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _public(text: str) -> str:
    """Return the text unchanged if it contains no account, otherwise decoded and without it."""
    found = secrets_in(unquote(text))
    return masked(unquote(text), found) if found else text


def positive(text: str) -> float:
    """Parse a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("expected a number above 0")
    return value


def finite(text: str) -> float:
    """Parse a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("expected a number")
    return value


def whole(text: str) -> int:
    """Parse a whole number from 0."""
    value = int(text)
    if value < 0:
        raise ValueError("expected 0 or more")
    return value


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("expected 0 to 1")
    return value


def yes_or_no(text: str) -> bool:
    """Parse 1 or 0."""
    if text not in {"0", "1"}:
        raise ValueError("expected 0 or 1")
    return text == "1"
