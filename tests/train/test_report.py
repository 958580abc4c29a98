"""The report: its contents, that it loads nothing else, and its slider's counts in a real browser."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from scipy.stats import beta

from ast_edge.synthetic import DEFECTS
from ast_edge.train.evaluate import Evaluation, Judged, figures, judge, open_model, parts_to_test
from ast_edge.train.report import Axis, rate_text, report_html
from ast_edge.verdict.threshold import statement
from tests.paths import ROOT

pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")
ARTEFACTS = ROOT / "artefacts" / "report"
Made = tuple[list[Judged], Evaluation, str]
COMMAND = "ast-edge evaluate model.onnx product --report report.html"


@pytest.fixture(scope="module")
def made(rgb_model: Path, product: Path) -> Made:
    """The judged parts, their figures and the page."""
    with open_model(rgb_model) as inspector:
        dataset = parts_to_test(product, inspector)
        judged = judge(inspector, dataset)
        evaluation = figures(judged, inspector, dataset)
        return judged, evaluation, report_html(judged, evaluation, inspector, COMMAND)


def passed(evaluation: Evaluation, kind: str | None, threshold: float) -> int:
    return sum(
        part.score is not None and part.score <= threshold
        for part in evaluation.parts
        if (part.defect != "good" if kind is None else part.defect == kind)
    )


def test_it_says_what_was_found(made: Made, rgb_model: Path) -> None:
    _, evaluation, page = made
    with open_model(rgb_model) as inspector:
        spec = inspector.spec
    assert statement(spec.threshold) in page
    assert spec.training_data.fingerprint in page
    assert COMMAND in page
    assert f"{evaluation.image_auroc:.1%}".replace("%", " %") in page
    escapes = passed(evaluation, None, evaluation.threshold)
    assert f"{escapes} of {evaluation.defective_parts} defective parts passed" in page
    for kind in DEFECTS:
        row = re.search(rf"<tr><td>{kind}</td>(.*?)</tr>", page)
        assert row is not None
        cells = re.findall(r">([^<>]*)</td>", row[1])
        found = passed(evaluation, kind, evaluation.threshold)
        assert [int(cell) for cell in cells[:4]] == [3, found, 3 - found, 0]


def test_pictures_are_inside_and_nothing_else_is_loaded(made: Made) -> None:
    _, _, page = made
    sources = re.findall(r'(?:src|href|srcset|action)="([^"]*)"', page)
    assert sources
    for source in sources:
        head, _, content = source.partition(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(content))).width <= 420
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'; img-src data:" in page


def test_a_hostile_name_is_only_a_name(made: Made, rgb_model: Path) -> None:
    judged, evaluation, _ = made
    evil = "</script><img src=x onerror=alert(1)>.png"
    parts = [
        part.model_copy(update={"name": evil, "defect": f"{part.defect}</script>"})
        for part in evaluation.parts
    ]
    with open_model(rgb_model) as inspector:
        page = report_html(judged, evaluation.model_copy(update={"parts": parts}), inspector, evil)
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    assert "&lt;/script&gt;&lt;img src=x" in page


def test_good_parts_alone_make_a_report_too(made: Made, rgb_model: Path) -> None:
    judged, _, _ = made
    good = [part for part in judged if part.sample.defect == "good"]
    with open_model(rgb_model) as inspector:
        dataset = parts_to_test(good[0].sample.name.parents[3], inspector)
        page = report_html(good, figures(good, inspector, dataset), inspector, COMMAND)
    assert "ROC:" not in page
    assert f"of {len(good)} good parts were rejected" in page


def test_faults_are_counted_apart(made: Made, rgb_model: Path, product: Path) -> None:
    judged, _, _ = made
    fault = replace(judged[0].inspection, verdict="fault", score=float("nan"))
    with open_model(rgb_model) as inspector:
        dataset = parts_to_test(product, inspector)
        parts = [replace(judged[0], inspection=fault), *judged[1:]]
        page = report_html(parts, figures(parts, inspector, dataset), inspector, COMMAND)
    assert "<strong>1</strong> parts could not be judged" in page


@pytest.mark.parametrize(("count", "parts"), [(0, 21), (3, 21), (21, 21)])
def test_intervals_are_clopper_and_pearsons(count: int, parts: int) -> None:
    low = beta.ppf(0.025, count, parts - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, parts - count) if count < parts else 1.0
    expected = f"95 % confidence {100 * low:.1f} to {100 * high:.1f} %"
    assert rate_text(count, parts) == f"{100 * count / parts:.1f} %, {expected}"


@pytest.mark.parametrize("axis", [Axis(0.1, 30.0, logarithmic=True), Axis(-1.0, 5.0, logarithmic=False)])
def test_an_axis_knows_its_way_back(axis: Axis) -> None:
    assert (axis.place(axis.low), axis.place(axis.high)) == (0.0, 1.0)
    for place in (0.0, 0.3, 0.9):
        assert axis.place(axis.at(place)) == pytest.approx(place)


def chromium(*arguments: str) -> str:
    """What a real browser, without any network, writes to stdout; skips where there is none."""
    browser = next(
        (found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None
    )
    if browser is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    fixed = ("--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND")
    done = subprocess.run(
        [browser, *fixed, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def test_the_slider_counts_as_the_line_would_judge(made: Made, tmp_path: Path) -> None:
    _, evaluation, page = made
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    scores = sorted(part.score for part in evaluation.parts if part.score is not None)
    for threshold in (None, scores[len(scores) // 3], scores[-1]):
        address = (tmp_path / "report.html").as_uri()
        address += "" if threshold is None else f"#threshold={threshold!r}"
        seen = chromium("--dump-dom", "--virtual-time-budget=1000", address)
        limit = evaluation.threshold if threshold is None else threshold
        escapes, bad = passed(evaluation, None, limit), evaluation.defective_parts
        assert f'<output id="escapes">{escapes} of {bad} ({100 * escapes / bad:.1f} %)</output>' in seen
        rejects = evaluation.good_parts - passed(evaluation, "good", limit)
        assert f'<output id="false-rejects">{rejects} of {evaluation.good_parts} (' in seen
        for kind in DEFECTS:
            assert f'Escapes, {kind}</td><td class="number">{passed(evaluation, kind, limit)} of 3 (' in seen


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_drawn(made: Made, tmp_path: Path, width: int) -> None:
    """The screenshot is kept for people to look at: artefacts/report."""
    (tmp_path / "report.html").write_text(made[2], encoding="utf-8")
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    target = ARTEFACTS / f"report_{width}.png"
    target.unlink(missing_ok=True)
    chromium(
        f"--screenshot={target}",
        f"--window-size={width},2400",
        "--hide-scrollbars",
        (tmp_path / "report.html").as_uri(),
    )
    with Image.open(target) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 20)
    assert colours is not None
    seen = {colour for _, colour in colours}
    assert {(46, 139, 87), (209, 52, 63)} <= seen  # bars of good and of defective parts
    assert len(seen) > 1000  # the overlays' pictures
