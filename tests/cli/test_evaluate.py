"""`ast-edge evaluate`: printed and written figures, the report, and one sentence for every refusal."""

from __future__ import annotations

import html
import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from ast_edge.synthetic import DEFECTS
from tests.cli.conftest import Cli, refusal
from tests.small import COUNTS

SMALL = ("--preset", "nano", "--weights", "seeded", "--image-size", "64")
pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")

KEYS = {
    *("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "threshold", "aggregation"),
    *("false_reject_rate", "escape_rate", "per_defect"),
}


def figures(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_run_and_model_write_the_same_figures(
    cli: Cli, product: Path, rgb_run: Path, rgb_model: Path, tmp_path: Path
) -> None:
    found = []
    for model, option in ((rgb_run, ("--device", "cpu")), (rgb_model, ("--threads", 1))):
        target = tmp_path / "figures" / f"{model.name}.json"
        done = cli("evaluate", model, product, "--json", target, *option)
        assert done.code == 0, done.err
        found.append(figures(target))
    ours, theirs = found
    assert (ours.pop("engine"), theirs.pop("engine")) == ("PyTorch", "ONNX Runtime")
    assert ours.keys() == theirs.keys() >= KEYS
    assert set(ours["per_defect"]) == set(DEFECTS)
    for kind, values in ours["per_defect"].items():
        assert values.keys() == {"image_auroc", "escape_rate", "count"}
        assert values == pytest.approx(theirs["per_defect"][kind], abs=5e-5)
    for key in KEYS - {"per_defect", "aggregation"}:
        assert ours[key] == pytest.approx(theirs[key], abs=5e-5), key
        assert key == "threshold" or 0 <= ours[key] <= 1
    assert ours["aggregation"] == theirs["aggregation"] == "max"


def test_the_printed_figures_are_those_of_the_file(
    cli: Cli, product: Path, rgb_model: Path, tmp_path: Path
) -> None:
    done = cli("evaluate", rgb_model, product, "--json", tmp_path / "f.json")
    content = figures(tmp_path / "f.json")
    rows = [line.rsplit(maxsplit=1) for line in done.out.splitlines()]
    printed = {row[0].strip(): row[1] for row in rows}
    for name in ("image_auroc", "false_reject", "escape"):
        low, high = content[f"{name}_interval"]
        assert f"  95 % between {low:.4f} and {high:.4f}\n" in done.out
    assert printed["pixel AUROC"] == f"{content['pixel_auroc']:.4f}"
    assert printed["escapes"] == f"{content['escape_rate']:.4f}"
    assert printed["false rejects"] == f"{content['false_reject_rate']:.4f}"
    count = COUNTS.test_good + len(DEFECTS) * COUNTS.test_per_defect
    assert done.err.splitlines()[-1] == f"evaluating: {count}/{count}"


def test_evaluate_writes_a_report(
    cli: Cli, product: Path, rgb_model: Path, depth_run: Path, tmp_path: Path
) -> None:
    for model in (rgb_model, depth_run):
        done = cli("evaluate", model, product, "--report", tmp_path / "r.html")
        assert done.code == 0
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>")
        assert f"<code>ast-edge evaluate {model} {product} --report {tmp_path / 'r.html'}</code>" in page
        assert "data:text/csv;base64," in page
        assert page.count("data:image/jpeg;base64,") > 3
    assert "--report" in refusal(cli, 2, "evaluate", rgb_model, product, "--report", tmp_path)


def test_the_report_names_the_very_command(cli: Cli, product: Path, rgb_model: Path, tmp_path: Path) -> None:
    good, bad, page = (
        product / "test" / "good" / "rgb",
        product / "test" / "dent" / "rgb",
        tmp_path / "r.html",
    )
    words = [
        *("evaluate", rgb_model, good, "--defective", bad, "--against", rgb_model),
        *("--accept-false-rejects", "99.5", "--html", page, "--json", tmp_path / "my figures.json"),
        *(
            "--csv",
            tmp_path / "p.csv",
            "--threads",
            "1",
            "--backend",
            "onnxruntime",
            "--max-pixels",
            "1000000",
            "--depth-scale",
            "0.001",
        ),
    ]
    assert cli(*words).code == 0
    (command,) = re.findall(r"<code>(ast-edge evaluate .*?)</code>", page.read_text(encoding="utf-8"))
    again = shlex.split(html.unescape(command))
    assert sorted(again) == sorted(str(word) for word in ["ast-edge", *words, "--report"] if word != "--html")
    page.unlink()
    assert cli(*again[1:]).code == 0
    assert page.exists()


def test_limits_decide_on_the_upper_bound_and_by_the_exit_code(
    cli: Cli, product: Path, rgb_model: Path, tmp_path: Path
) -> None:
    """None of the 6 good parts rejected shows at most 39.3 % with 95 % confidence."""
    good, target = product / "test" / "good" / "rgb", tmp_path / "f.json"
    evaluate = ("evaluate", rgb_model, good, "--json", target, "--csv", tmp_path / "parts.csv")
    assert cli(*evaluate).code == 0
    assert figures(target)["false_reject_rate"] == 0
    met, missed = (cli(*evaluate, "--accept-false-rejects", limit) for limit in (39.4, 39.3))
    assert (met.code, missed.code) == (0, 1)
    assert "\naccepted: false rejects: 0 of 6 (0.0 %), with 95 % confidence not more than 39.4 %, " in met.out
    last = missed.out.splitlines()[-1]
    assert last.startswith("not accepted: false rejects: 0 of 6 (0.0 %)")
    assert last.endswith(
        "limit 39.3 %: not met; it takes at least 7 good parts to show this limit, there are 6"
    )
    decision = figures(target)["acceptance"]
    assert decision["accepted"] is False
    assert decision["criteria"][0]["at_most"] == pytest.approx(1 - 0.05 ** (1 / 6))
    assert len((tmp_path / "parts.csv").read_text().splitlines()) == 7
    for words, said in (
        (("--accept-escapes", 5), "--accept-escapes: there is no defective part in the data"),
        (("--accept-false-rejects", 0), "expected a percentage above 0 and below 100"),
    ):
        assert said in refusal(cli, 2, *evaluate, *words)


def test_two_models_are_compared_on_the_same_parts(
    cli: Cli, product: Path, rgb_model: Path, depth_run: Path, tmp_path: Path
) -> None:
    target = tmp_path / "f.json"
    done = cli("evaluate", rgb_model, product, "--against", depth_run, "--json", target)
    assert done.code == 0, done.err
    content = figures(target)
    other = content["against"]
    assert (other["model"], other["evaluation"]["engine"]) == (str(depth_run), "PyTorch")
    right = [
        [(part["verdict"] == "pass") == (part["defect"] == "good") for part in parts]
        for parts in (content["parts"], other["evaluation"]["parts"])
    ]
    pairs = list(zip(*right, strict=True))
    assert other["both_right"] == pairs.count((True, True))
    only = pairs.count((True, False)), pairs.count((False, True))
    assert (other["only_first_right"], other["only_second_right"]) == only
    # McNemar's exact test by hand: both tails of a fair coin, at most 1.
    parts, fewer = sum(only), min(only)
    tail = sum(math.comb(parts, heads) for heads in range(fewer + 1)) / 2**parts
    assert other["p_value"] == pytest.approx(min(1.0, 2 * tail))
    difference = content["image_auroc"] - other["evaluation"]["image_auroc"]
    assert other["auroc_difference"][0] == pytest.approx(difference)
    assert f"AUROC apart    {difference:+.4f}" in done.out
    assert f"first          {rgb_model}\nsecond         {depth_run}\n" in done.out
    same = cli("evaluate", rgb_model, product, "--against", rgb_model)
    assert re.search(r"Both models are right on the same \d+ of 18 parts\.", same.out)
    said = refusal(cli, 2, "evaluate", rgb_model, product, "--against", depth_run, "--threads", 1)
    assert "--threads is for a model file" in said


def test_evaluate_refuses_in_one_sentence(
    cli: Cli, product: Path, rgb_run: Path, rgb_model: Path, tmp_path: Path
) -> None:
    good = product / "train" / "good" / "rgb"
    assert "is not a run folder" in refusal(cli, 1, "evaluate", product, product)
    assert "there is no such file" in refusal(cli, 1, "evaluate", tmp_path / "no.onnx", product)
    assert "expected a data folder" in refusal(cli, 1, "evaluate", rgb_model, tmp_path / "nothing")
    assert "its own test pictures" in refusal(cli, 2, "evaluate", rgb_model, product, "--defective", good)
    assert "is a folder; give the path of a file to write" in refusal(
        cli, 2, "evaluate", rgb_model, product, "--json", rgb_run.parent
    )
    assert "device cuda:99" in refusal(cli, 1, "evaluate", rgb_run, product, "--device", "cuda:99")
    assert "--threads is for a model file" in refusal(cli, 2, "evaluate", rgb_run, product, "--threads", 1)
    said = refusal(cli, 2, "evaluate", rgb_model, product, "--device", "cuda")
    assert "--device cuda is for a run folder" in said
    shutil.copy(rgb_run / "config.json", tmp_path)
    assert "continue it with `ast-edge train --resume`" in refusal(cli, 1, "evaluate", tmp_path, product)


def test_evaluate_on_the_users_own_folders(cli: Cli, product: Path, rgb_model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    for kind in ("dent", "scratch"):
        shutil.copytree(product / "test" / kind / "rgb", bad / kind)
    good = product / "test" / "good" / "rgb"
    target = tmp_path / "f.json"
    assert cli("evaluate", rgb_model, good, "--defective", bad, "--json", target).code == 0
    content = figures(target)
    assert content["per_defect"].keys() == {"dent", "scratch"}
    assert content["pixel_auroc"] is None
    assert cli("evaluate", rgb_model, good, "--json", target).code == 0
    assert figures(target)["image_auroc"] is None
    assert figures(target)["false_reject_rate"] is not None


@pytest.mark.slow
def test_the_parts_that_were_trained_on_are_refused(cli: Cli, product: Path, tmp_path: Path) -> None:
    good = Path(shutil.copytree(product / "train" / "good" / "rgb", tmp_path / "good"))
    run = tmp_path / "run"
    assert cli("train", good, "-o", run, *SMALL, "--backbone", "resnet18:2", "--epochs", 1).code == 0
    said = refusal(cli, 2, "evaluate", run, good)
    assert "these are the parts the model was trained on; give good parts it has not seen" in said
