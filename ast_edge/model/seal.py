"""The seal of a JSON file: its last member, `digest`, is the SHA-256 of all bytes before its comma.

The digest covers the bytes in the file, so a reader needs no rule for the format of numbers. It detects
damage and careless edits. It is not a signature: anyone who can write the file can write a matching digest.
"""

from __future__ import annotations

import hashlib
import json

# Shown by `ast-edge info` for the digests of a file.
NO_SIGNATURE = (
    "digests match: they detect damage and careless edits, and are not a signature; keep models where only "
    "trusted users can write"
)


def sealed(content: dict[str, object], *, indent: int | None = None) -> str:
    """Return `content` as JSON text with keys in order and the digest at the end. Numbers must be finite."""
    text = json.dumps(content, sort_keys=True, indent=indent, allow_nan=False)
    body = text[: text.rindex("}")].rstrip()
    space = " " if indent is None else "\n" + " " * indent
    end = "" if indent is None else "\n"
    return f'{body},{space}"digest": "{_sha256(body.encode())}"{end}}}'


def seal_holds(data: bytes) -> bool:
    """Whether the last member of the JSON text `data` is the digest of the bytes before it."""
    body, comma, last = data.rpartition(b",")
    try:
        return bool(comma) and json.loads(b"{" + last) == {"digest": _sha256(body)}
    except (ValueError, RecursionError):
        return False


def canonical_digest(content: dict[str, object]) -> str:
    """SHA-256 of the canonical JSON form of `content`: used by manifests of format 2 and sidecars of 1."""
    return _sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
