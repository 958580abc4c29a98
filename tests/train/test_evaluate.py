"""Evaluation: figures worked out by hand on a fake engine, and the run against its exported model."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from ast_edge.backends.base import Outputs
from ast_edge.backends.fake import FakeBackend
from ast_edge.cli.evaluation_text import evaluation_text
from ast_edge.data import load, open_dataset
from ast_edge.errors import DataError, RunError, UsageError
from ast_edge.inspector import Inspector
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Crop, Mode, ModelSpec
from ast_edge.model.roi import Roi
from ast_edge.train.evaluate import evaluate, open_model, parts_to_test
from ast_edge.train.evaluation import Evaluation
from tests.small import COUNTS, MODES, calibration_scores
from tests.tiny import tiny_spec

SIZE = 32
FAULTY = 255
THRESHOLD = 1.0


def spec_for(**changes: object) -> ModelSpec:
    spec = tiny_spec()
    threshold = spec.threshold.model_copy(update={"value": THRESHOLD, "pixel_value": THRESHOLD})
    return spec.model_copy(update={"threshold": threshold, **changes})


def answer(inputs: Mapping[str, Array]) -> Outputs:
    """The map is the picture's brightness in hundredths, its mean the score; pure white is a fault."""
    planes = inputs["image"].astype(np.float64).mean(axis=3)
    anomaly_map = planes.reshape(-1, 4, 8, 4, 8).mean(axis=(2, 4)) / 100
    score = np.where(planes.min(axis=(1, 2)) == FAULTY, math.nan, anomaly_map.mean(axis=(1, 2)))
    return Outputs(score.astype(np.float32), anomaly_map.astype(np.float32))


def inspector_for(spec: ModelSpec | None = None) -> Inspector:
    spec = spec or spec_for()
    return Inspector(spec, FakeBackend(spec, answer))


def write(folder: Path, levels: Sequence[int], size: tuple[int, int] = (SIZE, SIZE)) -> None:
    folder.mkdir(parents=True)
    for index, level in enumerate(levels):
        Image.new("RGB", size, (level,) * 3).save(folder / f"{index:03d}.png")


def write_mask(root: Path, kind: str, index: int, box: tuple[int, int, int, int], width: int = SIZE) -> None:
    """A mask whose marked pixels, x0, y0, x1, y1, have the value 1: anything above 0 counts."""
    path = root / "ground_truth" / kind / f"{index:03d}_mask.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", (width, SIZE), 0)
    mask.paste(1, box)
    mask.save(path)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Brightness is the score times 100, so that every figure can be worked out on paper."""
    root = tmp_path / "product"
    write(root / "train" / "good", [5, 6])
    write(root / "test" / "good", [10, 20, 120, 30])
    write(root / "test" / "dent", [150, 90])
    write(root / "test" / "scratch", [110, FAULTY])
    for kind in ("dent", "scratch"):
        for index in (0, 1):
            write_mask(root, kind, index, (0, 0, SIZE, SIZE // 2))
    return root


def judged(root: Path, spec: ModelSpec | None = None) -> Evaluation:
    with inspector_for(spec) as inspector:
        return evaluate(inspector, parts_to_test(root, inspector))


def test_figures_worked_out_by_hand(labelled: Path) -> None:
    found = judged(labelled)
    # Of 16 pairs two are in the wrong order: 90 and 110 below the good 120. The fault is above all.
    assert found.image_auroc == pytest.approx(14 / 16)
    # From the top: fault, 150, good 120, 110, 90: precision at each of the defective ones.
    assert found.image_ap == pytest.approx((1 + 1 + 3 / 4 + 4 / 5) / 4)
    assert found.image_f1max == pytest.approx(2 * 0.8 * 1.0 / 1.8)
    assert (found.threshold, found.aggregation) == (THRESHOLD, "mean")
    assert found.false_reject_rate == 1 / 4  # 120
    assert found.escape_rate == 1 / 4  # 90; the fault does not pass
    assert (found.good_parts, found.defective_parts, found.faults) == (4, 4, 1)
    assert (found.engine, found.data) == ("fake", "product")


def test_figures_per_kind_of_defect(labelled: Path) -> None:
    dent, scratch = (judged(labelled).per_defect[kind] for kind in ("dent", "scratch"))
    assert (dent.image_auroc, dent.escape_rate, dent.count) == (7 / 8, 1 / 2, 2)
    assert (scratch.image_auroc, scratch.escape_rate, scratch.count) == (7 / 8, 0.0, 2)


def test_pixel_auroc_worked_out_by_hand(labelled: Path) -> None:
    """Every map is flat; pixels of the fault, which has no map, are left out."""
    half = SIZE * SIZE // 2
    positive = {150: half, 90: half, 110: half}
    negative = {**dict.fromkeys((10, 20, 120, 30), 2 * half), 150: half, 90: half, 110: half}
    pairs = [
        (count * other, 1.0 if level > below else 0.5 if level == below else 0.0)
        for level, count in positive.items()
        for below, other in negative.items()
    ]
    expected = sum(count * won for count, won in pairs) / sum(count for count, _ in pairs)
    assert judged(labelled).pixel_auroc == pytest.approx(expected)


def test_a_fault_ranks_above_every_score(labelled: Path, tmp_path: Path) -> None:
    """Among good parts it costs, among defective ones it counts as found."""
    shutil.rmtree(labelled / "test" / "good")
    write(labelled / "test" / "good", [10, FAULTY])
    found = judged(labelled)
    assert found.false_reject_rate == 1 / 2
    assert found.faults == 2
    # Against 10 all four win; against the fault three lose and the other fault ties.
    assert found.image_auroc == pytest.approx(4.5 / 8)


def test_faults_alone(tmp_path: Path) -> None:
    write(tmp_path / "train" / "good", [5, 6])
    write(tmp_path / "test" / "good", [FAULTY])
    found = judged(tmp_path)
    assert (found.false_reject_rate, found.escape_rate, found.faults) == (1.0, None, 1)
    assert (found.image_auroc, found.pixel_auroc, found.per_defect) == (None, None, {})


def test_the_other_aggregation_is_reported_too(tmp_path: Path) -> None:
    """A small bright spot: lost in the mean, found by the maximum."""
    write(tmp_path / "train" / "good", [5, 6])
    write(tmp_path / "test" / "good", [60])
    spot = Image.new("RGB", (SIZE, SIZE), (50,) * 3)
    spot.paste((90, 90, 90), (0, 0, 8, 8))
    (tmp_path / "test" / "dent").mkdir()
    spot.save(tmp_path / "test" / "dent" / "000.png")
    write_mask(tmp_path, "dent", 0, (0, 0, 8, 8))
    found = judged(tmp_path)
    assert found.image_auroc == found.by_aggregation["mean"].image_auroc == 0.0
    assert found.by_aggregation["max"].image_auroc == 1.0


@pytest.mark.parametrize(("side", "expected"), [("left", 1 / 6), ("right", 1.0)])
def test_pixels_outside_the_crop_have_no_anomaly(tmp_path: Path, side: str, expected: float) -> None:
    """A defect out there ties with what is good out there and loses against the two halves looked at."""
    spec = spec_for()
    crop = Crop(x=SIZE, y=0, width=SIZE, height=SIZE)
    spec = spec.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"crop": crop})})
    write(tmp_path / "train" / "good", [5, 6], (2 * SIZE, SIZE))
    write(tmp_path / "test" / "good", [10], (2 * SIZE, SIZE))
    write(tmp_path / "test" / "dent", [90], (2 * SIZE, SIZE))
    box = (0, 0, SIZE, SIZE) if side == "left" else (SIZE, 0, 2 * SIZE, SIZE)
    write_mask(tmp_path, "dent", 0, box, 2 * SIZE)
    assert judged(tmp_path, spec).pixel_auroc == pytest.approx(expected)


def test_pixels_outside_the_mask_do_not_count(tmp_path: Path) -> None:
    """Of two defects the one that is looked at has the highest values, and the other does not matter."""
    spec = spec_for()
    pixels = np.zeros((SIZE, SIZE), np.bool_)
    pixels[:, : SIZE // 2] = True
    roi = spec.preprocessing.model_copy(update={"roi": Roi.of(pixels, (0, 0, 0))})
    write(tmp_path / "train" / "good", [5, 6])
    write(tmp_path / "test" / "good", [10])
    write(tmp_path / "test" / "dent", [90, 5])
    write_mask(tmp_path, "dent", 0, (0, 0, SIZE // 2, SIZE))
    write_mask(tmp_path, "dent", 1, (SIZE // 2, 0, SIZE, SIZE))
    everything = judged(tmp_path, spec)
    assert everything.looked_at is None
    assert everything.pixel_auroc is not None
    assert everything.pixel_auroc < 0.7
    masked = judged(tmp_path, spec.model_copy(update={"preprocessing": roi}))
    assert masked.looked_at == 0.5
    assert masked.pixel_auroc == 1.0
    assert "50.0 % of the picture is looked at; pixel figures count these pixels only" in evaluation_text(
        masked
    )


# What is judged


def test_a_plain_folder_with_defective_parts(tmp_path: Path) -> None:
    write(tmp_path / "good", [10, 20, 120])
    write(tmp_path / "bad" / "dent", [150, 90])
    write(tmp_path / "bad" / "good", [15])
    with inspector_for() as inspector:
        found = evaluate(inspector, parts_to_test(tmp_path / "good", inspector, tmp_path / "bad"))
    assert (found.good_parts, found.defective_parts) == (4, 2)
    assert found.image_auroc == pytest.approx(7 / 8)
    assert found.false_reject_rate == 1 / 4
    assert found.escape_rate == 1 / 2
    assert found.pixel_auroc is None  # there are no masks
    assert list(found.per_defect) == ["dent"]


def test_a_plain_folder_of_good_parts_alone(tmp_path: Path) -> None:
    write(tmp_path / "good", [10, 120])
    found = judged(tmp_path / "good")
    assert (found.false_reject_rate, found.escape_rate, found.image_auroc) == (1 / 2, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_parts_trained_on_are_refused_whatever_was_held_out(tmp_path: Path, seed: int) -> None:
    from ast_edge.train.config import changed, preset  # noqa: PLC0415
    from ast_edge.train.pipeline import SEEDED, TrainRequest, train  # noqa: PLC0415

    good = tmp_path / "good"
    write(good, range(20, 200, 20), (64, 64))
    for path in good.iterdir():
        with Image.open(path) as picture:
            picture.putpixel((3, 4), (255, 0, 0))  # no picture of a part is of one colour
            picture.save(path)
    small: dict[str, object] = {
        "backbone.stages": (1,),
        "backbone.stride": 4,
        "memories": (),
        "image_size": 32,
        "teacher.epochs": 1,
        "student.epochs": 1,
        "seed": seed,
    }
    config = changed(preset("nano", "rgb"), small)
    run = train(TrainRequest(good, tmp_path / "run", config, SEEDED))
    moved = good.rename(tmp_path / "elsewhere")
    with open_model(run.path) as inspector:
        with pytest.raises(UsageError, match=r"elsewhere: these are the parts the model was trained on"):
            parts_to_test(moved, inspector)
        # One more: the others are known one by one.
        Image.new("RGB", (64, 64), "white").save(moved / "new.png")
        with pytest.raises(UsageError, match=r"and 6 more of 10 parts: the model was trained on them"):
            parts_to_test(moved, inspector)
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        shutil.copy(moved / "new.png", fresh)
        assert len(parts_to_test(fresh, inspector).test) == 1


def test_a_dataset_without_test_parts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "good", [5, 6])
    with pytest.raises(DataError, match="has no test pictures"):
        judged(tmp_path)


def test_a_part_that_cannot_be_read_is_a_fault_as_on_the_line(labelled: Path) -> None:
    before = judged(labelled)
    (labelled / "test" / "dent" / "001.png").write_bytes(b"no picture")
    found = judged(labelled)
    assert found.faults == before.faults + 1
    (fault,) = (part for part in found.parts if part.name == "test/dent/001.png")
    assert (fault.verdict, fault.score) == ("fault", None)
    assert fault.reason.startswith("is not a PNG, JPEG, BMP, TIFF or WebP picture")
    assert found.pixel_auroc is not None


def test_without_masks_there_are_image_figures(labelled: Path) -> None:
    before = judged(labelled)
    next((labelled / "ground_truth").rglob("*.png")).unlink()
    found = judged(labelled)
    assert (found.image_auroc, found.escape_rate) == (before.image_auroc, before.escape_rate)
    assert (found.pixel_auroc, found.aupro_30, found.without_mask) == (None, None, 1)
    text = evaluation_text(found)
    assert f"left out: 1 of {found.defective_parts} defective parts have no mask" in text
    assert "pixel AUROC" not in text


def test_a_run_that_is_not_complete_is_refused(rgb_run: Path, tmp_path: Path) -> None:
    shutil.copy(rgb_run / "config.json", tmp_path / "config.json")
    with pytest.raises(RunError, match=r"training is not complete; .*--resume"):
        open_model(tmp_path)
    with pytest.raises(RunError, match="is not a run folder"):
        open_model(rgb_run.parent)


# The run and its model


def numbers(value: object, where: str = "") -> dict[str, float]:
    """All numbers in nested dicts, by their path."""
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in numbers(inner, f"{where}/{name}").items()}
    return {where: float(value)} if isinstance(value, int | float) else {}


@pytest.mark.parametrize("mode", MODES)
def test_run_and_model_give_the_same_numbers(
    mode: Mode, runs: dict[Mode, Path], models: dict[Mode, Path], product: Path
) -> None:
    found = []
    for path in (runs[mode], models[mode]):
        with open_model(path) as inspector:
            found.append(evaluate(inspector, parts_to_test(product, inspector)))
    assert [evaluation.engine for evaluation in found] == ["PyTorch", "ONNX Runtime"]
    ours, theirs = (numbers(evaluation.model_dump()) for evaluation in found)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 20
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name], abs=5e-5), name
    assert found[0].good_parts == COUNTS.test_good
    assert found[0].defective_parts == 4 * COUNTS.test_per_defect
    assert found[0].pixel_auroc is not None


@pytest.mark.parametrize("mode", MODES)
def test_the_model_gives_the_scores_that_the_threshold_rests_on(
    mode: Mode, runs: dict[Mode, Path], models: dict[Mode, Path], product: Path
) -> None:
    """Calibration runs the network in batches; the line hands it one part after the other."""
    found = []
    with open_model(models[mode]) as inspector:
        for sample in open_dataset(product, mode=mode).validation:
            part = load(sample, mode)
            colour: Literal["rgb"] | None = None if part.image is None else "rgb"
            inspection = inspector.inspect(part.image, colour=colour, depth_m=part.depth_m)
            found.append((inspection.score, float(inspection.anomaly_map.max())))
    assert np.allclose(found, calibration_scores(runs[mode]), rtol=1e-4)
