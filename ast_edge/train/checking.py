"""Checks every good part before a run begins: is it usable, and do the pictures belong together?

A run takes minutes or days; unusable files should all be reported within seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ast_edge.data import LoadedSample, Sample, digest_of_part, load
from ast_edge.errors import AstEdgeError, DataError
from ast_edge.files import printable
from ast_edge.frames.reading import UPRIGHT, orientation_of
from ast_edge.model.manifest import Mode
from ast_edge.progress import stage
from ast_edge.train.config import TrainConfig
from ast_edge.train.features import inputs_of

_NAMED = 10  # bad parts listed in a message; the log has all of them


@dataclass(frozen=True)
class Look:
    """A usable part: (height, width) in pixels, EXIF orientation, digest of its content."""

    shape: tuple[int, int]
    orientation: int
    digest: str


@dataclass(frozen=True)
class Checked:
    """Result of the check: usable parts, and sentences about the others."""

    fit: Mapping[Sample, Look]
    bad: Mapping[Sample, str] = field(default_factory=dict)

    def require_all(self) -> None:
        """Raise DataError that lists the bad parts."""
        if not self.bad:
            return
        sentences = [sentence.rstrip(".") for sentence in self.bad.values()]
        more = f"; and {len(sentences) - _NAMED} more" if len(sentences) > _NAMED else ""
        raise DataError(
            f"{len(self.bad)} of {len(self.bad) + len(self.fit)} good parts cannot be used: "
            f"{'; '.join(sentences[:_NAMED])}{more}. Fix or remove them, or skip them with --skip-bad."
        )

    def require_one_shape(self) -> None:
        """Raise DataError if frames have several shapes, as from several cameras."""
        shapes = Counter(look.shape for look in self.fit.values())
        if len(shapes) <= 1:
            return
        by_name = sorted(self.fit, key=lambda sample: sample.name, reverse=True)
        first = {self.fit[sample].shape: sample for sample in by_name}
        groups = ", ".join(
            f"{count} of {width}x{height} (as {printable(first[height, width].name)})"
            for (height, width), count in shapes.most_common()
        )
        raise DataError(
            f"the pictures have {len(shapes)} sizes in pixels: {groups}; a camera has one: remove the "
            "others, or train on all of them with --mixed-sizes."
        )

    def turned(self) -> str:
        """Return a notice about EXIF orientation; empty if all pictures agree in it."""
        turned = [sample for sample, look in self.fit.items() if look.orientation != UPRIGHT]
        if not turned or len(turned) == len(self.fit):
            return ""
        return (
            f"{len(turned)} of {len(self.fit)} pictures are marked as rotated (EXIF orientation, such as "
            f"{printable(turned[0].name)}), the others are not; they are rotated, as on the line."
        )


class _Looks(Dataset["Look | AstEdgeError"]):
    """Check one part at a time; an error is returned as a value, since a worker process would mangle it."""

    def __init__(self, samples: Sequence[Sample], config: TrainConfig) -> None:
        self.samples, self.config = samples, config

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Look | AstEdgeError:
        try:
            return _look(self.samples[index], self.config)
        except AstEdgeError as exc:
            return exc


def check_parts(samples: Iterable[Sample], config: TrainConfig, *, workers: int = 0) -> Checked:
    """Open every part completely, as training and the line do; report which cannot be used and why."""
    parts = list(samples)
    fit: dict[Sample, Look] = {}
    bad: dict[Sample, str] = {}
    loader = DataLoader(_Looks(parts, config), batch_size=None, num_workers=workers)
    with stage("checking pictures", len(parts)) as shown:
        for sample, look in zip(parts, loader, strict=True):
            if isinstance(look, AstEdgeError):
                bad[sample] = str(look)
            else:
                fit[sample] = look
            shown.advance()
    return Checked(fit, bad)


def _look(sample: Sample, config: TrainConfig) -> Look:
    loaded = load(sample, config.mode)
    _refuse_blank(loaded, sample.name)
    inputs_of(loaded, sample, config.preprocessing)
    return Look(loaded.shape, _orientation(sample, config.mode), digest_of_part(sample, config.mode))


def _refuse_blank(loaded: LoadedSample, name: Path) -> None:
    """Refuse a picture whose pixels are all equal: the lens is covered or the light is off."""
    if loaded.image is not None and (np.ptp(loaded.image, axis=(0, 1)) == 0).all():
        value = ", ".join(map(str, loaded.image[0, 0]))
        raise DataError(f"{name}: all its pixels are equal (RGB {value}), so it shows no part; remove it.")


def _orientation(sample: Sample, mode: Mode) -> int:
    return UPRIGHT if mode == "depth" or sample.image is None else orientation_of(sample.image)
