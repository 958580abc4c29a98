"""What the report says, that it loads nothing else, and that names are only names."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_edge.data import open_dataset
from ast_edge.synthetic import DEFECTS, PartCounts, write_product
from ast_edge.train.evaluate import figures, parts_to_test
from ast_edge.train.evaluation import Evaluation
from ast_edge.train.report.axis import Axis
from ast_edge.train.report.page import Candidate, apply_command, report_html
from ast_edge.train.report.pictures import pictures_of, side_for
from ast_edge.verdict.rates import rate_text
from ast_edge.verdict.threshold import statement
from tests.train.report.conftest import COMMAND, Report

pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")


def passed(evaluation: Evaluation, kind: str) -> int:
    return sum(
        part.score is not None and part.score <= evaluation.threshold
        for part in evaluation.parts
        if part.defect == kind
    )


def test_it_says_what_was_found(one: Report) -> None:
    evaluation, page, spec = one.first.evaluation, one.html, one.first.inspector.spec
    assert statement(spec.threshold) in page
    assert spec.training_data.fingerprint in page
    assert evaluation.data_fingerprint is not None
    assert evaluation.data_fingerprint in page
    assert evaluation.made is not None
    assert evaluation.made[:10] in page
    assert COMMAND in page
    assert f"{evaluation.image_auroc:.1%}".replace("%", " %") in page
    escapes = sum(passed(evaluation, kind) for kind in DEFECTS)
    assert f"{escapes} of {evaluation.defective_parts} defective parts passed" in page
    for kind in DEFECTS:
        row = re.search(rf'<th scope="row">{kind}</th>(.*?)</tr>', page)
        assert row is not None
        cells = re.findall(r">([^<>]*)</td>", row[1])
        found = passed(evaluation, kind)
        assert [int(cell) for cell in cells[:4]] == [3, found, 3 - found, 0]


def test_every_part_is_listed_with_picture_score_and_verdict(one: Report) -> None:
    rows = re.findall(r'<tr data-number="(\d+)".*?</tr>', one.html, re.S)
    parts = one.first.evaluation.parts
    assert rows == [str(number) for number in range(len(parts))]
    for part in parts:
        row = re.search(rf'<tr data-number="\d+" data-name="{part.name}".*?</tr>', one.html, re.S)
        assert row is not None
        assert part.score is not None
        assert f'data-verdict="{part.verdict}" data-score="{part.score}"' in row[0]
        assert "data:image/jpeg;base64," in row[0]
        assert (" data-wrong" in row[0]) == ((part.verdict == "pass") != (part.defect == "good"))


def test_pictures_are_inside_and_nothing_else_is_loaded(two: Report) -> None:
    sources = re.findall(r'(?:src|href|srcset|action)="([^"]*)"', two.html)
    kinds = set()
    for source in sources:
        head, _, content = source.partition(",")
        kinds.add(head)
        if head != "data:text/csv;base64":
            assert Image.open(io.BytesIO(base64.b64decode(content))).width <= 640
    assert kinds == {"data:image/jpeg;base64", "data:image/webp;base64", "data:text/csv;base64"}
    assert not re.search(r"url\(|@import|https?://", two.html)
    assert "default-src 'none'; img-src data:" in two.html


def saved(page: str) -> list[list[str]]:
    (content,) = re.findall(r'href="data:text/csv;base64,([^"]*)"', page)
    return list(csv.reader(io.StringIO(base64.b64decode(content).decode())))


def test_the_list_is_saved_as_csv(two: Report) -> None:
    head, *rows = saved(two.html)
    assert head == [
        *("part", "kind", "verdict", "score", "threshold", "reason"),
        *("verdict_2", "score_2", "threshold_2", "reason_2"),
    ]
    assert two.extras.second is not None
    pairs = zip(two.first.evaluation.parts, two.extras.second.evaluation.parts, strict=True)
    for row, (first, second) in zip(rows, pairs, strict=True):
        assert row[:3] == [first.name, first.defect, first.verdict]
        assert (float(row[3]), row[6], float(row[7])) == (first.score, second.verdict, second.score)


def test_a_hostile_name_is_only_a_name(one: Report) -> None:
    evil = '=</script><img src=x onerror=alert(1)>" autofocus onfocus="alert(1).png'
    parts = [
        part.model_copy(update={"name": evil, "defect": "good" if part.defect == "good" else "dent</script>"})
        for part in one.first.evaluation.parts
    ]
    evaluation = one.first.evaluation.model_copy(update={"parts": parts})
    page = report_html(replace(one.first, evaluation=evaluation), evil)
    assert "<img src=x" not in page
    assert '" autofocus onfocus' not in page
    assert page.count("</script>") == 2
    assert "&lt;/script&gt;&lt;img src=x" in page
    assert saved(page)[1][0] == f"'{evil}", "a spreadsheet takes no name for a formula"


def test_good_parts_alone_make_a_report_too(one: Report) -> None:
    good = [part for part in one.first.judged if part.sample.defect == "good"]
    inspector = one.first.inspector
    dataset = parts_to_test(good[0].sample.name.parents[3], inspector)
    page = report_html(Candidate(Path("m.onnx"), inspector, good, figures(good, inspector, dataset)), COMMAND)
    assert "ROC:" not in page
    assert f"of {len(good)} good parts were rejected" in page


def test_faults_are_counted_apart_and_an_unreadable_file_is_named(
    one: Report, product: Path, tmp_path: Path
) -> None:
    first, *others = one.first.judged
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    fault = replace(first.inspection, verdict="fault", score=float("nan"), reason="cannot be read")
    parts = [replace(first, sample=replace(first.sample, image=broken), inspection=fault), *others]
    inspector = one.first.inspector
    dataset = open_dataset(product, mode="rgb")
    page = report_html(Candidate(Path("m"), inspector, parts, figures(parts, inspector, dataset)), COMMAND)
    assert "<strong>1</strong> parts could not be judged" in page
    assert page.count("not readable") == 1
    assert '<span class="soft">cannot be read</span>' in page


def test_two_models_stand_side_by_side(two: Report, rgb_model: Path, depth_model: Path) -> None:
    assert two.extras.compared is not None
    assert two.extras.compared.text.replace("'", "&#39;") in two.html
    for path in (rgb_model, depth_model):
        assert f": {path}</th>" in two.html
    row = re.search(r'<th scope="row">Image AUROC</th>(.*?)</tr>', two.html)
    assert row is not None
    assert two.extras.second is not None
    shown = re.findall(r">([\d.]+) %</td>", row[1])
    aurocs = [two.first.evaluation.image_auroc, two.extras.second.evaluation.image_auroc]
    assert [float(value) for value in shown] == pytest.approx(
        [100 * auroc for auroc in aurocs if auroc], abs=0.051
    )


def test_a_limit_is_decided_and_signed(one: Report, two: Report) -> None:
    assert two.extras.acceptance is not None
    assert not two.extras.acceptance.accepted
    assert "<strong>Not accepted</strong>" in two.html
    for criterion in two.extras.acceptance.criteria:
        assert f"<li>{criterion.text}.</li>" in two.html
    assert "<span>Customer</span>" in two.html
    assert "Not accepted" not in one.html


def test_the_threshold_is_applied_by_a_command(tmp_path: Path) -> None:
    assert apply_command(Path("my models/m.onnx")) == "ast-edge calibrate 'my models/m.onnx' --threshold"
    assert apply_command(tmp_path) == (
        f"ast-edge export {tmp_path} -o model.onnx && ast-edge calibrate model.onnx --threshold"
    )


def test_the_half_is_rounded_up_as_in_the_page() -> None:
    assert rate_text(5, 16).startswith("31.3 %, 95 % confidence 11.0 to 58.7 %")


@pytest.mark.parametrize("axis", [Axis(0.1, 30.0, logarithmic=True), Axis(-1.0, 5.0, logarithmic=False)])
def test_an_axis_knows_its_way_back(axis: Axis) -> None:
    assert (axis.place(axis.low), axis.place(axis.high)) == (0.0, 1.0)
    for place in (0.0, 0.3, 0.9):
        assert axis.place(axis.at(place)) == pytest.approx(place)


def test_a_page_of_many_parts_stays_small(one: Report, tmp_path: Path) -> None:
    """Pictures shrink with their number; a map all over is the worst case."""
    write_product(
        tmp_path / "product",
        PartCounts(train=1, validation=1, test_good=1, test_per_defect=1),
        seed=0,
        size=700,
    )
    spec, part = one.first.inspector.spec, one.first.judged[0]
    hot = np.linspace(0, 4 * spec.threshold.pixel_value, part.inspection.anomaly_map.size, dtype=np.float32)
    inspection = replace(part.inspection, anomaly_map=hot.reshape(part.inspection.anomaly_map.shape))
    sample = open_dataset(tmp_path / "product", mode="rgb").test[-1]
    for parts in (60, 250, 500, 1000):
        shown = pictures_of([replace(part, sample=sample, inspection=inspection)], [spec], side_for(parts))
        assert max(shown.width, shown.height) == side_for(parts)
        assert parts * (len(shown.photo) + len(shown.maps[0])) < 25e6, parts
