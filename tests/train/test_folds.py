"""Cross-calibration: the folds, their networks, and good parts that may be defective."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.errors import DataError, RunError, UsageError
from ast_edge.train.config import TrainConfig
from ast_edge.train.folds import fold_members, outliers, scale_text, scaled
from ast_edge.train.judged import JudgedPart
from ast_edge.train.pipeline import SEEDED, TrainRequest, resume, train
from ast_edge.train.run import Run
from ast_edge.train.split import Split, split_parts
from ast_edge.verdict.calibration import p_value
from tests.train.runs import tiny_config

FOLDS = 3


def config_of(**changes: object) -> TrainConfig:
    return tiny_config(**{"folds": FOLDS, **changes})


def run_on(data: Path, run: Path, **changes: object) -> Run:
    return train(TrainRequest(data, run, config_of(**changes), SEEDED))


def linked(parts: list[Path], folder: Path) -> None:
    """Links to the xyz files, with a picture beside each as the layout wants it, named in their order."""
    for kind in ("rgb", "xyz"):
        (folder / kind).mkdir(parents=True)
    for at, xyz in enumerate(parts):
        (folder / "xyz" / f"{at:03d}.tiff").symlink_to(xyz)
        (folder / "rgb" / f"{at:03d}.png").symlink_to(xyz.parents[1] / "rgb" / f"{xyz.stem}.png")


def xyz_files(split: Split) -> list[Path]:
    return [sample.xyz for sample in split.samples if sample.xyz is not None]


def rows(run: Run, key: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run.calibration.read_text(encoding="utf-8"))[key]
    return found


@pytest.fixture(scope="module")
def crossed(product: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of mode depth, cross-calibrated; read only."""
    return run_on(product, tmp_path_factory.mktemp("crossed") / "run", calibration="cross")


@given(parts=st.integers(2, 300), folds=st.integers(2, 20), seed=st.integers(0, 2**63 - 1))
def test_every_part_is_in_one_fold(parts: int, folds: int, seed: int) -> None:
    found = fold_members(parts, folds, seed)
    assert sorted(np.concatenate(found).tolist()) == list(range(parts))
    sizes = {len(fold) for fold in found}
    assert max(sizes) - min(sizes) <= 1
    assert all(np.array_equal(fold, np.sort(fold)) for fold in found)


@pytest.mark.slow
@pytest.mark.parametrize("fold", range(FOLDS))
def test_a_fold_is_judged_as_the_held_out_parts_of_a_run_without_it(
    fold: int, crossed: Run, product: Path, tmp_path: Path
) -> None:
    """The same parts as a folder of their own, with the fold as its validation parts."""
    files = xyz_files(split_parts(product, config_of()))
    members = fold_members(len(files), FOLDS, 5)[fold].tolist()
    linked([path for at, path in enumerate(files) if at not in members], tmp_path / "train" / "good")
    linked([files[at] for at in members], tmp_path / "validation" / "good")
    alone = rows(run_on(tmp_path, tmp_path / "run"), "held_out_parts")
    found = rows(crossed, "parts_by_folds")
    assert [found[at]["score"] for at in members] == [row["score"] for row in alone]
    assert [found[at]["map_maximum"] for at in members] == [row["map_maximum"] for row in alone]


@pytest.mark.slow
def test_the_network_is_that_of_a_run_without_folds(crossed: Run, product: Path, tmp_path: Path) -> None:
    split = run_on(product, tmp_path / "run")
    assert crossed.weights.read_bytes() == split.weights.read_bytes()
    assert rows(crossed, "held_out_parts") == rows(split, "held_out_parts")
    assert {path.name for path in crossed.path.iterdir()} == {path.name for path in split.path.iterdir()}


def test_the_threshold_rests_on_every_good_part(crossed: Run, product: Path) -> None:
    spec, parts = crossed.spec(), rows(crossed, "parts_by_folds")
    files = xyz_files(split_parts(product, config_of()))
    assert [Path(str(row["part"])).stem for row in parts] == [path.stem for path in files]
    assert (spec.threshold.method, spec.threshold.good_parts) == ("cross", len(files))
    assert spec.calibration is not None
    assert spec.calibration.origin == f"cross-calibrated in training, {FOLDS} folds"
    own = {row["part"]: float(str(row["score"])) for row in rows(crossed, "held_out_parts")}
    folds = {row["part"]: float(str(row["score"])) for row in parts}
    scale = np.median([own[name] / folds[name] for name in own])
    scores = sorted(score * scale for score in folds.values())
    assert spec.calibration.scores == pytest.approx(scores)
    rank = min(len(files), -(-(len(files) + 1) * 99 // 100))
    assert spec.threshold.value - spec.threshold.margin == pytest.approx(scores[rank - 1])
    assert p_value(scores[0], spec) == pytest.approx(1.0)


def part(score: float) -> JudgedPart:
    return JudgedPart(part=f"{score}.png", score=score, map_maximum=score)


def test_the_scale_of_the_folds() -> None:
    by_folds = [part(score) for score in (1.0, 2.0, 4.0, 5.0)]
    held_out = [
        by_folds[at].model_copy(update={"score": score}) for at, score in ((0, 3.0), (1, 2.0), (2, 6.0))
    ]
    factor, found = scaled(by_folds, held_out)
    assert factor == 1.5  # of 3, 1, 1.5
    assert [(row.score, row.map_maximum) for row in found] == [(1.5, 1.5), (3.0, 3.0), (6.0, 6.0), (7.5, 7.5)]
    assert [row.part for row in found] == [row.part for row in by_folds]
    assert "scores held-out parts 1.50 times as high as the networks of the 3 folds" in scale_text(
        1.5, config_of()
    )
    assert scale_text(1.2, config_of()) == ""
    assert scale_text(0.7, config_of()) != ""


def test_outliers_by_hand() -> None:
    """Logarithms -2..2 and one more: median 0.5 of six, absolute deviations 0.5, 0.5, 1.5, 1.5, 2.5 and the
    outlier's; their median 1.5 makes a spread of 1.5 / 0.6745.
    """
    usual = [part(float(np.exp(power))) for power in (-2, -1, 0, 1, 2)]
    limit = 0.5 + 3.5 * 1.5 / 0.6745
    assert outliers([*usual, part(float(np.exp(limit - 0.01)))]) == []
    assert outliers([*usual, part(float(np.exp(limit + 0.01)))]) == [5]
    assert outliers([part(1e9), *usual, part(1e12)]) == [6, 0]  # the strangest first
    assert outliers([part(1.0)] * 5) == []
    assert outliers([part(0.0), part(1.0)]) == []


@pytest.fixture
def contaminated(product: Path, tmp_path: Path) -> Path:
    """The product, with the upper third raised by 2 cm in three good parts, two of them to train on."""
    data = Path(shutil.copytree(product, tmp_path / "data"))
    for split, stem in (("train", "003"), ("train", "011"), ("validation", "004")):
        path = data / split / "good" / "xyz" / f"{stem}.tiff"
        xyz = tifffile.imread(path)
        z = xyz[: len(xyz) // 3, :, 2]
        z[z > 0] -= 0.02
        tifffile.imwrite(path, xyz, photometric="rgb")
    return data


@pytest.mark.slow
def test_parts_that_may_be_defective_are_named_and_left_out(
    contaminated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = run_on(contaminated, tmp_path / "named", calibration="cross")
    err = capsys.readouterr().err
    judged = rows(named, "parts_by_folds")
    strange = [str(judged[at]["part"]) for at in outliers([part(float(str(row["score"]))) for row in judged])]
    assert {Path(name).parts[-4] + Path(name).stem for name in strange} == {
        *("train003", "train011", "validation004")
    }
    assert f"3 good parts may be defective: {strange[0]} (" in err
    assert "use --exclude-outliers if they are." in err
    excluding = run_on(contaminated, tmp_path / "excluding", calibration="cross", exclude_outliers=True)
    assert "they are left out of training and threshold." in capsys.readouterr().err
    data, before = excluding.spec().training_data, named.spec().training_data
    assert (data.train_parts, data.holdout_parts) == (before.train_parts - 2, before.holdout_parts - 1)
    assert data.fingerprint == before.fingerprint
    kept = [row["part"] for row in rows(excluding, "parts_by_folds")]
    assert set(kept) == {row["part"] for row in judged} - set(strange)
    assert excluding.spec().threshold.value < named.spec().threshold.value
    assert all(f"may be defective: {name}" in excluding.log.read_text() for name in strange)


def test_too_few_parts_for_the_folds(product: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--calibration cross: 60 folds need 120 good parts, found \d+; add"):
        run_on(product, tmp_path / "run", calibration="cross", folds=60)


def test_outliers_cannot_be_excluded_without_folds() -> None:
    with pytest.raises(UsageError, match="exclude_outliers needs calibration cross"):
        config_of(exclude_outliers=True)


def test_a_damaged_fold(product: Path, tmp_path: Path, crossed: Run) -> None:
    run = Run(Path(shutil.copytree(crossed.path, tmp_path / "run")))
    run.spec_file.unlink()
    (run.folds / "0").mkdir(parents=True)
    (run.folds / "0" / "calibration.json").write_text("{")
    with pytest.raises(RunError, match=r"0/calibration\.json: is damaged; delete it and use --resume"):
        resume(run, product)
