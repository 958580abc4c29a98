"""The good parts of a data folder, split into training parts and parts held out for the threshold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ast_edge.data import Dataset, Sample, digest_of_part, fingerprint, open_dataset
from ast_edge.errors import DataError, UsageError
from ast_edge.files import printable
from ast_edge.model.manifest import Mode, TrainingData, seen_text
from ast_edge.train.config import TrainConfig
from ast_edge.verdict.threshold import (
    FEWEST_HELD_OUT,
    FEWEST_TRAINED,
    USUAL_HOLDOUT,
    held_out_count,
    percent,
    promise,
)


@dataclass(frozen=True)
class Split:
    """A dataset whose good parts are split into training and held-out parts."""

    dataset: Dataset
    mode: Mode
    train: tuple[Sample, ...]
    holdout: tuple[Sample, ...]

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All good parts, training parts first."""
        return self.train + self.holdout

    @property
    def held_out(self) -> list[str]:
        """Names of the held-out parts in the data folder."""
        return [self.name(sample) for sample in self.holdout]

    def name(self, sample: Sample) -> str:
        """Return the name of a part in the data folder, as text."""
        return printable(sample.name.relative_to(self.dataset.root))

    def without(self, names: Collection[str]) -> Dataset:
        """Return the dataset without the parts of these names."""
        return replace(
            self.dataset,
            train=tuple(sample for sample in self.dataset.train if self.name(sample) not in names),
            validation=tuple(sample for sample in self.dataset.validation if self.name(sample) not in names),
        )

    def describe(self) -> TrainingData:
        """Describe the parts for the manifest. Raises DataError for an unreadable file."""
        # Sorted by name, as in the folder, so that evaluation recognises the parts whichever were held out.
        samples = sorted(self.samples, key=lambda sample: sample.name.as_posix())
        return TrainingData(
            fingerprint=fingerprint(samples, self.dataset.root),
            layout=self.dataset.layout,
            train_parts=len(self.train),
            holdout_parts=len(self.holdout),
            seen=seen_text(digest_of_part(sample, self.mode) for sample in self.train),
        )


def split_parts(data: Path, config: TrainConfig, skipped: Collection[str] = ()) -> Split:
    """Split the good parts of `data`, except those `skipped`, as in a run with `config`.

    Raises DataError for unusable data.
    """
    dataset = open_dataset(data, mode=config.mode, with_test=False)
    everything = Split(dataset, config.mode, dataset.train, dataset.validation)
    dataset = everything.without(skipped)
    if not dataset.train:
        raise DataError(f"{data}: none of its good parts can be used; give others.")
    if len(dataset.validation) == 1:
        raise DataError(f"{dataset.validation[0].name}: is the only validation part; expected 2 or more.")
    if dataset.validation:
        return Split(dataset, config.mode, dataset.train, dataset.validation)
    return Split(
        dataset, config.mode, *split_holdout(dataset.train, fraction=config.holdout, seed=config.seed)
    )


def split_holdout(
    samples: Sequence[Sample], *, fraction: float = USUAL_HOLDOUT, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split good parts into (train, held out) by `seed`, at least 2 in each, both sorted by path.

    Used without a validation split: the threshold must come from parts that were never trained on. Raises
    UsageError for a fraction outside 0..1 and DataError for fewer than 4 parts.
    """
    if not 0.0 < fraction < 1.0:
        raise UsageError(f"the hold-out fraction must lie between 0 and 1, not {fraction}.")
    ordered = sorted(samples, key=lambda sample: sample.name.as_posix())
    fewest = FEWEST_HELD_OUT + FEWEST_TRAINED
    if len(ordered) < fewest:
        where = ordered[0].name.parent if ordered else "the data folder"
        raise DataError(
            f"{where}: {len(ordered)} good parts are too few to train on some and hold out others; expected "
            f"at least {fewest}, and several hundred for a useful threshold."
        )
    count = held_out_count(len(ordered), fraction)
    held_out = set(np.random.default_rng(seed).permutation(len(ordered))[:count].tolist())
    return (
        tuple(sample for index, sample in enumerate(ordered) if index not in held_out),
        tuple(sample for index, sample in enumerate(ordered) if index in held_out),
    )


def same_parts(found: TrainingData, started: TrainingData) -> bool:
    """Whether these are the parts that a run was started with, possibly by a version without `seen`."""
    return found.model_copy(update={"seen": started.seen}) == started and started.seen in (None, found.seen)


def parts_text(split: Split, config: TrainConfig) -> str:
    """Describe the split, and what the number of parts means for the false-reject rate asked for."""
    held_out, parts, rate = len(split.holdout), len(split.samples), config.false_reject_rate
    text = f"parts: {len(split.train)} to train on, {held_out} held out"
    if config.calibration == "cross":
        return f"{text}; the threshold rests on all {parts}, by {config.folds} folds"
    promised = promise(held_out, rate)
    text += " for the threshold"
    if held_out >= promised.needed:
        return text
    # The threshold is then their largest score, with its split-conformal bound.
    return (
        f"{text}; {promised.needed} would be needed for a false-reject rate of {percent(rate)}, with "
        f"{held_out} expect about {percent(promised.expected)} (--calibration cross uses all {parts}, "
        f"for about {config.folds} times the time)"
    )
