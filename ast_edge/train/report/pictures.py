"""The report's pictures: of each part one, and the models' maps as transparent layers over it."""

from __future__ import annotations

from collections.abc import Sequence

from ast_edge.data import Sample, load, load_mask
from ast_edge.errors import DataError
from ast_edge.model.manifest import ModelSpec
from ast_edge.overlay import Picture, depth_picture
from ast_edge.pages.layers import Judgement, Pictures, layered
from ast_edge.train.evaluate import Judged

# The longest side of a picture in pixels by the number of parts, so that the page stays below some 20 MB.
_SIDES = ((60, 640), (250, 420), (1000, 280))
_SMALLEST_SIDE = 120


def side_for(parts: int) -> int:
    """Return the longest side of a picture in a report of that many parts."""
    return next((side for most, side in _SIDES if parts <= most), _SMALLEST_SIDE)


def pictures_of(judged: Sequence[Judged], specs: Sequence[ModelSpec], side: int) -> Pictures:
    """Return the pictures of a part as each of the models with `specs` judged it; its file is read again."""
    sample = judged[0].sample
    picture = _picture(sample, specs[0])
    if picture is None:
        return Pictures()
    mask = None if sample.mask is None else load_mask(sample, picture.shape[:2])
    judgements = [
        Judgement(part.inspection, spec, part.shape) for part, spec in zip(judged, specs, strict=True)
    ]
    return layered(picture, judgements, side, mask)


def _picture(sample: Sample, spec: ModelSpec) -> Picture | None:
    """Return the inspected picture, the rendered depth map in mode depth; None for an unreadable file."""
    try:
        loaded = load(sample, spec.mode)
    except DataError:
        return None
    if loaded.image is not None:
        return loaded.image
    assert loaded.depth_m is not None  # noqa: S101  # a loaded sample has one or the other
    return depth_picture(loaded.depth_m)
