"""The page: the template with everything that it shows.

Charts are SVG drawn here; the page's script moves the threshold, sorts and filters the list of parts and
enlarges pictures. Names of files are escaped by the template engine, and scores are passed as JSON.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ast_edge import pages
from ast_edge.data import GOOD
from ast_edge.files import printable
from ast_edge.inspector import Inspector
from ast_edge.model.manifest import Manifest
from ast_edge.pages.layers import Pictures
from ast_edge.progress import stage
from ast_edge.train.evaluate import Judged
from ast_edge.train.evaluation import Evaluation
from ast_edge.train.report.axis import Axis
from ast_edge.train.report.charts import HEIGHT, WIDTH, curves, histogram
from ast_edge.train.report.parts import Row, part_rows, parts_csv
from ast_edge.train.report.pictures import pictures_of, side_for
from ast_edge.train.report.tables import figures_of, headline, kind_row, kinds_of
from ast_edge.train.side_by_side import SideBySide
from ast_edge.verdict.acceptance import Acceptance
from ast_edge.verdict.rates import interval_text
from ast_edge.verdict.threshold import statement

_GALLERY = 6  # of the worst escapes and of the worst false rejects


@dataclass(frozen=True)
class Candidate:
    """A model of the report: its file or run folder, and how it judged the parts."""

    path: Path
    inspector: Inspector
    judged: Sequence[Judged]
    evaluation: Evaluation


@dataclass(frozen=True)
class Extras:
    """What a report may have besides: a second model with the comparison, and limits for acceptance."""

    second: Candidate | None = None
    compared: SideBySide | None = None
    acceptance: Acceptance | None = None


def report_html(first: Candidate, command: str, extras: Extras | None = None) -> str:
    """Return the page. `command` reproduces it; pictures are read again from the parts' files."""
    extras = extras or Extras()
    candidates = [first, *([] if extras.second is None else [extras.second])]
    evaluations = [candidate.evaluation for candidate in candidates]
    evaluation, spec = first.evaluation, first.inspector.spec
    rows = part_rows(evaluations, _pictures(candidates))
    return _template().render(
        evaluation=evaluation,
        evaluations=evaluations,
        candidates=[(printable(one.path), one.evaluation, one.inspector.spec) for one in candidates],
        spec=spec,
        manifest=spec if isinstance(spec, Manifest) else None,
        statement=statement(spec.threshold),
        headline=headline(evaluation),
        kinds=[kind_row(kind, evaluation) for kind in kinds_of(evaluation.parts)],
        figures=list(zip(*(figures_of(one) for one in evaluations), strict=True)),
        extras=extras,
        interval=interval_text,
        rows=rows,
        gallery=_gallery(rows, evaluation),
        csv=base64.b64encode(parts_csv(evaluations).encode()).decode(),
        command=command,
        size=(WIDTH, HEIGHT),
        **_charts(first),
    )


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, Path(pages.__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html")


def _pictures(candidates: Sequence[Candidate]) -> list[Pictures]:
    specs = [candidate.inspector.spec for candidate in candidates]
    side = side_for(len(candidates[0].judged))
    found = []
    with stage("pictures of the report", len(candidates[0].judged)) as shown:
        for judged in zip(*(candidate.judged for candidate in candidates), strict=True):
            found.append(pictures_of(judged, specs, side))
            shown.advance()
    return found


def _charts(first: Candidate) -> dict[str, object]:
    """Return the charts of a model and the data with which the page moves its threshold."""
    evaluation = first.evaluation
    parts = evaluation.parts
    scored = [part for part in parts if part.score is not None and part.verdict != "fault"]
    scores = np.array([part.score for part in scored], np.float64)
    defective = np.array([part.defect != GOOD for part in scored], np.bool_)
    axis = Axis.of(scores, evaluation.threshold)
    return {
        "axis": axis,
        "histogram": histogram(scores, defective, axis),
        "curves": curves(defective, scores),
        "data": {
            "parts": [[part.defect, part.score] for part in scored],
            "faults": [part.defect for part in parts if part not in scored],
            "threshold": evaluation.threshold,
            "good": GOOD,
            "axis": [axis.low, axis.high, axis.logarithmic],
            "apply": apply_command(first.path),
        },
    }


def apply_command(path: Path) -> str:
    """Return the command that gives a model another threshold, which is written after it."""
    name = printable(path)
    if not path.is_dir():
        return shlex.join(["ast-edge", "calibrate", name, "--threshold"])
    words = shlex.join(["ast-edge", "calibrate", "model.onnx", "--threshold"])
    return f"{shlex.join(['ast-edge', 'export', name, '-o', 'model.onnx'])} && {words}"


def _gallery(rows: Sequence[Row], evaluation: Evaluation) -> list[tuple[str, str, list[Row]]]:
    """Return title, explanation and parts of each group of the gallery."""
    judged = [row for row in rows if row.opinions[0].score is not None]
    rising = sorted(judged, key=lambda row: row.opinions[0].score or 0.0)
    escapes = [row for row in rising if row.wrong and row.kind != GOOD]
    false_rejects = [row for row in reversed(rising) if row.wrong and row.kind == GOOD]
    hits: list[Row] = []
    for kind in kinds_of(evaluation.parts):
        found = [row for row in rising if row.kind == kind != GOOD and not row.wrong]
        hits += found[len(found) // 2 : len(found) // 2 + 1]
    return [
        ("Worst escapes", "Defective parts that passed, the least suspicious first.", escapes[:_GALLERY]),
        (
            "Worst false rejects",
            "Good parts that were rejected, the most suspicious first.",
            false_rejects[:_GALLERY],
        ),
        ("Typical hits", "Of each kind of defect the rejected part with the median score.", hits),
    ]
