"""Reports of the small product: one model, and two with limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ast_edge.inspector import Inspector
from ast_edge.train.evaluate import figures, judge, open_model, parts_to_test
from ast_edge.train.report.page import Candidate, Extras, report_html
from ast_edge.train.side_by_side import side_by_side
from ast_edge.verdict.acceptance import Limits, acceptance

COMMAND = "ast-edge evaluate model.onnx product --report report.html"


def candidate(path: Path, inspector: Inspector, product: Path) -> Candidate:
    dataset = parts_to_test(product, inspector)
    judged = judge(inspector, dataset)
    return Candidate(path, inspector, judged, figures(judged, inspector, dataset))


@dataclass(frozen=True)
class Report:
    """A page and what it shows."""

    first: Candidate
    extras: Extras
    html: str


@pytest.fixture(scope="package")
def one(rgb_model: Path, product: Path) -> Iterator[Report]:
    """The report of one model."""
    with open_model(rgb_model) as inspector:
        first = candidate(rgb_model, inspector, product)
        yield Report(first, Extras(), report_html(first, COMMAND))


@pytest.fixture(scope="package")
def two(rgb_model: Path, depth_model: Path, product: Path) -> Iterator[Report]:
    """The report of two models, with limits that this few parts cannot show."""
    with open_model(rgb_model) as inspector, open_model(depth_model) as other:
        first, second = candidate(rgb_model, inspector, product), candidate(depth_model, other, product)
        compared = side_by_side(first.evaluation, second.evaluation, str(depth_model))
        decision = acceptance(first.evaluation.counts, Limits(escapes=1, false_rejects=99))
        extras = Extras(second, compared, decision)
        yield Report(first, extras, report_html(first, COMMAND, extras))
