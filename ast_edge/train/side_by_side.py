"""Two models on the same parts: which is right where, and whether the difference is more than chance."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict

from ast_edge.data import GOOD
from ast_edge.errors import UsageError
from ast_edge.train.evaluation import Evaluation, PartFigures
from ast_edge.train.intervals import Difference, auroc_difference
from ast_edge.train.metrics import Scores, ranked
from ast_edge.verdict.rates import chance_text, mcnemar
from ast_edge.wording import share_text


class SideBySide(BaseModel):
    """A second model's evaluation beside the first one's; `model` is its file or run folder.

    `auroc_difference` is the first one's AUROC less the second one's, with DeLong's interval for the same
    parts. Parts are counted by which model judged them rightly; `p_value` is that of McNemar's exact test,
    None where both are right and wrong on the same parts.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    evaluation: Evaluation
    auroc_difference: Difference | None
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    p_value: float | None

    @property
    def text(self) -> str:
        """Which parts the models judge differently, in a sentence."""
        first, second = self.only_first_right, self.only_second_right
        parts = self.both_right + self.both_wrong + first + second
        if self.p_value is None:
            return f"Both models are right on the same {self.both_right} of {parts} parts."
        return (
            f"Only the first is right on {share_text(first, parts)}, only the second on "
            f"{share_text(second, parts)}; {chance_text(self.p_value)}."
        )


def side_by_side(first: Evaluation, second: Evaluation, model: str) -> SideBySide:
    """Compare two evaluations. UsageError unless both are of the same parts."""
    if [(part.name, part.defect) for part in first.parts] != [
        (part.name, part.defect) for part in second.parts
    ]:
        raise UsageError(f"{model}: was not evaluated on the same parts; give both models the same data.")
    pairs = [(_right(one), _right(other)) for one, other in zip(first.parts, second.parts, strict=True)]
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    defective = np.array([part.defect != GOOD for part in first.parts], np.bool_)
    return SideBySide(
        model=model,
        evaluation=second,
        auroc_difference=auroc_difference(defective, _scores(first), _scores(second)),
        both_right=pairs.count((True, True)),
        only_first_right=only_first,
        only_second_right=only_second,
        both_wrong=pairs.count((False, False)),
        p_value=mcnemar(only_first, only_second),
    )


def _right(part: PartFigures) -> bool:
    return (part.verdict == "pass") == (part.defect == GOOD)


def _scores(evaluation: Evaluation) -> Scores:
    scores = [math.nan if part.score is None else part.score for part in evaluation.parts]
    faults = [part.verdict == "fault" for part in evaluation.parts]
    return ranked(np.array(scores, np.float64), np.array(faults, np.bool_))
