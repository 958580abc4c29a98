"""Every good part judged by a network that was not trained on it: K-fold cross-calibration.

The good parts, those held out included, are divided into K folds. For each fold a network is trained exactly
as the run's own, with the fold as its held-out parts, and judges these. So the threshold rests on every good
part instead of a tenth of them, and a part that the network of its fold finds far stranger than usual is
reported: it may be defective.

The run's own network is another one, whose scores may be larger or smaller by a factor. The run's held-out
parts have scores of both kinds; the median of their quotients brings the folds' scores to the scale of the
run's network. That its scores of new good parts are then spread as the folds' are is an assumption, the
stability of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from ast_edge.errors import DataError, RunError
from ast_edge.files import remove_leftovers, write_text
from ast_edge.progress import say
from ast_edge.train.config import TrainConfig
from ast_edge.train.features import Features
from ast_edge.train.judged import JudgedPart
from ast_edge.train.log import logger
from ast_edge.train.networks import Making, judge_good_parts, trained_network
from ast_edge.train.run import Run
from ast_edge.train.split import Split

OUTLIER = 3.5  # modified z-score; Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993
UNSTABLE = 1.25  # a larger factor between two trainings on nearly the same parts is worth a warning
_ROWS = TypeAdapter(list[JudgedPart])


def cross_judged(run: Run, making: Making, split: Split, features: Features) -> list[JudgedPart]:
    """All parts of `split`, in the order of its samples, each judged by the network of its fold.

    Completed folds are read from the run folder, so that an interrupted run continues.
    """
    config = making.config
    samples = split.samples
    if len(samples) < 2 * config.folds:
        raise DataError(
            f"--calibration cross: {config.folds} folds need {2 * config.folds} good parts, found "
            f"{len(samples)}; add good parts or use --calibration split."
        )
    found: dict[int, JudgedPart] = {}
    for number, fold in enumerate(fold_members(len(samples), config.folds, config.seed)):
        place = Run(run.folds / str(number))
        rest = np.setdiff1d(np.arange(len(samples)), fold)
        if not place.calibration.exists():
            say(f"fold {number + 1} of {config.folds}")
            place.path.mkdir(parents=True, exist_ok=True)
            remove_leftovers(place.path)
            own = replace(
                split, train=tuple(samples[at] for at in rest), holdout=tuple(samples[at] for at in fold)
            )
            network = trained_network(place, making, own, features.only(np.concatenate([rest, fold])))
            judged = judge_good_parts(network, making, own.holdout)
            write_text(place.calibration, _ROWS.dump_json(judged, indent=1).decode())
            place.checkpoint.unlink(missing_ok=True)
            place.teacher_file.unlink(missing_ok=True)
            logger.info("fold %d of %d: %d parts judged", number + 1, config.folds, len(fold))
        found |= zip(fold.tolist(), _read(place), strict=True)
    return [found[at] for at in range(len(samples))]


def fold_members(parts: int, folds: int, seed: int) -> list[NDArray[np.int64]]:
    """The indices of each fold's parts, rising; the folds' sizes differ by one at most."""
    order = np.random.default_rng(seed).permutation(parts)
    return [np.sort(order[at::folds]) for at in range(folds)]


def scaled(judged: Sequence[JudgedPart], held_out: Sequence[JudgedPart]) -> tuple[float, list[JudgedPart]]:
    """The folds' scores on the scale of the network that judged `held_out`, and the factor."""
    by_name = {part.part: part for part in judged}
    quotients = [part.score / by_name[part.part].score for part in held_out if by_name[part.part].score > 0]
    factor = float(np.median(quotients)) if quotients else 1.0
    return factor, [
        part.model_copy(update={"score": part.score * factor, "map_maximum": part.map_maximum * factor})
        for part in judged
    ]


def scale_text(factor: float, config: TrainConfig) -> str:
    """What the factor says about the folds, where it says anything."""
    if 1 / UNSTABLE <= factor <= UNSTABLE:
        return ""
    return (
        f"the network scores held-out parts {factor:.2f} times as high as the networks of the {config.folds} "
        "folds do, so training is not stable on these parts: check the threshold on new good parts, or set "
        "it from them with `ast-edge calibrate`."
    )


def outliers(judged: Sequence[JudgedPart]) -> list[int]:
    """Indices of parts that may be defective, by their scores' logarithms, the strangest first."""
    logs = np.log(np.maximum([part.score for part in judged], 1e-12))
    middle = np.median(logs)
    spread = np.median(np.abs(logs - middle)) / 0.6745
    strange = (logs - middle) / max(float(spread), 1e-12)
    return [int(at) for at in np.argsort(-strange, kind="stable") if strange[at] > OUTLIER]


def outliers_text(strange: Sequence[JudgedPart], judged: Sequence[JudgedPart], *, excluded: bool) -> str:
    """Name parts that may be defective, in words for the user."""
    usual = float(np.median([part.score for part in judged]))
    shown = ", ".join(f"{part.part} ({part.score / usual:.1f} times the usual score)" for part in strange[:5])
    more = f" and {len(strange) - 5} more, named in the run's log" if len(strange) > 5 else ""
    done = (
        "they are left out of training and threshold."
        if excluded
        else "look at them, and remove them or use --exclude-outliers if they are."
    )
    return f"{len(strange)} good parts may be defective: {shown}{more}; {done}"


def _read(place: Run) -> list[JudgedPart]:
    try:
        return _ROWS.validate_json(place.calibration.read_bytes())
    except (OSError, ValidationError) as exc:
        raise RunError(f"{place.calibration}: is damaged; delete it and use --resume.") from exc
