"""Where the files of a part lie: the layouts that `ast-edge train` reads, see `ast_edge.data`.

A camera without depth gives the layout of MVTec AD, one with depth that of MVTec 3D-AD.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ast_edge.errors import UsageError

RECORD = "parts.jsonl"
_TRAIN = "train/good"
# A kind is a folder: without a leading dot, which readers skip.
_KIND = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


class Places(NamedTuple):
    """The files of a part, relative to the folder of the collection; no depth map without depth."""

    picture: str
    depth: str | None


def folder_of(label: str | None) -> str:
    """Return the folder of the parts: for training without a label, else for evaluation.

    Raises UsageError for a label that cannot be the name of a folder.
    """
    if label is None:
        return _TRAIN
    if not _KIND.fullmatch(label):
        raise UsageError(
            f"--label {label}: expected up to 64 letters, digits, _ or -, since it names a folder."
        )
    return f"test/{label}"


def parts_text(count: int) -> str:
    """A number of parts in words."""
    return f"{count} part" if count == 1 else f"{count} parts"


def places_of(label: str | None, number: int, *, depth: bool) -> Places:
    """Return the places of the part with this number."""
    folder, name = folder_of(label), f"{number:06d}"
    if not depth:
        return Places(f"{folder}/{name}.png", None)
    return Places(f"{folder}/rgb/{name}.png", f"{folder}/xyz/{name}.tiff")
