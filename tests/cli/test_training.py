"""`ast-edge train` and `export`: printed and written results, and one sentence for every refusal."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from ast_edge.data import open_dataset
from ast_edge.train.area import crop_around_parts
from ast_edge.train.config import preset
from ast_edge.train.fit import settled
from ast_edge.train.run import Run
from tests.cli.conftest import Cli, refusal
from tests.small import COUNTS, OPTIONS, PARTS, unsealed

SMALL = ("--preset", "nano", "--weights", "seeded", "--image-size", "64")
pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")


@pytest.fixture
def unfinished(depth_run: Path, tmp_path: Path) -> Path:
    """A run with `OPTIONS` in mode depth that lacks only its last file."""
    run = Path(shutil.copytree(depth_run, tmp_path / "unfinished"))
    (run / "spec.json").unlink()
    return run


# train


def test_train_prints_the_result_on_stdout_and_the_progress_on_stderr(
    cli: Cli, product: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = cli("train", product, "-o", run, "--mode", "depth", *SMALL, "--epochs", "2,1")
    assert done.code == 0
    out = done.out.splitlines()
    assert out[0] == f"run        {run} (depth, nano, {COUNTS.train} good parts)"
    assert out[1].startswith("threshold  ")
    assert out[2].startswith(f"Set from {COUNTS.validation} good parts that were not trained on:")
    assert "99 good parts are needed and there were 10" in out[2]
    # Ten parts: the largest of their scores is the only choice below 10 %.
    assert out[3].split() == ["false", "rejects", "at", "most", "threshold", "times", "the", "usual", "score"]
    assert out[4].split()[0] == "9.09"
    assert out[5].startswith(f"with more good parts: {2 * COUNTS.validation} parts ")
    assert out[6] == f"next: ast-edge export {run} -o model.onnx"
    # The last line of each stage; a slow machine prints others in between.
    said = dict(line.split(": ") for line in done.err.splitlines())
    assert (
        "with 10 expect about 9.09 % (--calibration cross uses all 34, for about 5 times the time)"
        in (said["parts"])
    )
    assert list(said) == [
        "checking pictures",
        "parts",
        "extracting features",
        "training",
        "training teacher",
        "training student",
        "calibrating",
    ]
    assert said["extracting features"] == f"{PARTS}/{PARTS}"
    expected = r"about \d+ s on this machine, teacher 2 and student 1 epochs"
    assert re.fullmatch(expected, said["training"])
    assert " epoch 2/2 loss " in said["training teacher"]


@pytest.mark.slow
def test_every_option_reaches_the_configuration(cli: Cli, product: Path, tmp_path: Path) -> None:
    given = {
        "--mode": "depth",
        "--epochs": "2,1",
        "--batch-size": 5,
        "--lr": 0.0003,
        "--seed": 3,
        "--aggregation": "mean",
        "--standardise": "none",
        "--noise": 0.1,
        "--smoothing": 0.6,
        "--set": "student.width=24",
        "--crop": "2,4,56,58",
        "--calibration": "cross",
        "--false-reject-rate": 0.2,
        "--holdout": 0.3,
        "--backbone": "resnet18:1,2",
        "--device": "cpu",
        "--workers": 1,
    }
    words = [word for pair in given.items() for word in pair]
    flags = ("--mixed-precision", "--exclude-outliers")
    done = cli("train", product, "-o", tmp_path / "run", *SMALL, *flags, *words)
    assert done.code == 0, done.err
    config = Run(tmp_path / "run").config().train
    assert (config.mode, config.preset, config.image_size) == ("depth", "nano", 64)
    assert (config.teacher.epochs, config.student.epochs, config.batch_size) == (2, 1, 5)
    assert (config.lr, config.seed, config.aggregation, config.standardise) == (0.0003, 3, "mean", "none")
    assert config.crop is not None
    assert config.crop.model_dump() == {"x": 2, "y": 4, "width": 56, "height": 58}
    assert (config.smoothing, config.student.width, config.student.blocks) == (0.6, 24, 2)
    assert (config.noise, config.false_reject_rate, config.holdout) == (0.1, 0.2, 0.3)
    assert (config.backbone.stages, config.backbone.stride) == ((1, 2), 8)
    assert config.mixed_precision
    assert (config.calibration, config.folds, config.exclude_outliers) == ("cross", 5, True)
    spec = Run(tmp_path / "run").spec()
    assert spec.preprocessing.crop == config.crop
    assert spec.smoothing == 0.6
    assert spec.threshold.target_false_reject_rate == 0.2


@pytest.mark.slow
def test_crop_auto_finds_the_parts_and_resumes(cli: Cli, product: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    words = ("train", product, "-o", run.path, *SMALL, "--mode", "depth", "--crop", "auto")
    done = cli(*words)
    assert done.code == 0, done.err
    config = run.config().train
    dataset = open_dataset(product, mode="depth", with_test=False)
    assert config.crop == crop_around_parts(dataset.train + dataset.validation, config)
    assert config.crop is not None
    assert "crop around the parts: " in run.log.read_text()
    x, y, width, height = config.crop.model_dump().values()
    assert f"crop       {width}x{height} pixels at x {x}, y {y}" in done.out.splitlines()
    (run.path / "spec.json").unlink()
    assert cli(*words, "--resume").code == 0
    assert run.spec().preprocessing.crop == config.crop


def test_without_options_the_preset_speaks(depth_run: Path) -> None:
    config = Run(depth_run).config().train
    assert (config.standardise, config.noise, config.aggregation) == ("channel", 0.1, "max")
    assert config.crop is None
    assert config.mixed_precision == settled(preset("nano", "depth"), torch.device("cpu")).mixed_precision


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--image-size 100", "image_size 100 is not a multiple of the backbone's stride, 16"),
        ("--image-size 0", "--image-size"),
        ("--backbone resnet18", "--backbone resnet18: name the stages, as in resnet18:2,3"),
        ("--backbone resnet18:", "name the stages"),
        ("--backbone resnet18:a", "--backbone resnet18:a: expected 1 to 5 whole numbers"),
        ("--backbone resnet18:0,1,2,3,4,5", "expected 1 to 5 whole numbers"),
        ("--backbone resnet18:2,9", "backbone resnet18:2,9: timm cannot build it"),
        ("--backbone resnet18:-1", "--backbone resnet18:-1: name every stage once, from 0 and in order"),
        ("--backbone resnet18:3,2", "name every stage once"),
        ("--backbone resnet18:2,2", "name every stage once"),
        ("--backbone nosuch:1", "Unknown model (nosuch)"),
        # Its stride of 32 tells that the paper's backbone was understood, in both spellings.
        ("--backbone tf_efficientnet_b5.aa_in1k --image-size 80", "stride, 32"),
        ("--backbone tf_efficientnet_b5.aa_in1k:blocks5 --image-size 80", "stride, 32"),
        ("--crop 1,2,3", "--crop 1,2,3: expected 4 whole numbers separated by commas"),
        ("--crop a", "--crop a: expected 4 whole numbers"),
        ("--crop 0,0,0,10", "crop.width: must be greater than 0 (given: 0)"),
        ("--crop=-1,0,10,10", "crop.x: must be at least 0 (given: -1)"),
        ("--epochs 0", "teacher.epochs: must be greater than 0 (given: 0)"),
        ("--epochs 1,0", "student.epochs: must be greater than 0 (given: 0)"),
        ("--epochs 1,2,3", "--epochs 1,2,3: expected 1 to 2 whole numbers"),
        ("--epochs many", "--epochs many: expected 1 to 2 whole numbers"),
        ("--batch-size 0", "--batch-size"),
        ("--lr 0", "lr: must be greater than 0 (given: 0.0)"),
        ("--lr nan", "lr: must be a finite number (given: nan)"),
        ("--lr fast", "--lr"),
        ("--seed -1", "--seed"),
        ("--seed 9223372036854775808", "--seed"),
        ("--noise -1", "--noise"),
        ("--holdout 1", "holdout: must be less than 1"),
        ("--false-reject-rate 0", "false_reject_rate: must be greater than 0"),
        ("--mode xyz", "--mode"),
        ("--preset large", "--preset"),
        ("--aggregation median", "aggregation: expected mean, max or topK"),
        ("--aggregation top65", "the map has only 64 values"),
        ("--smoothing -1", "--smoothing"),
        ("--set width", "--set width: expected KEY=VALUE"),
        ("--set width=3", "--set width=3: there is no setting 'width'; there are backbone.name, "),
        ("--set mode=depth", "there is no setting 'mode'"),
        ("--set student.width=wide", "student.width: must be a whole number"),
        ("--set student.width=0", "student.width: must be greater than 0 (given: 0)"),
        ("--set teacher.kernels=[2]", "the size of a kernel must be odd"),
        ("--workers -1", "--workers"),
        ("--no-such-option", "--no-such-option"),
    ],
)
def test_an_impossible_option_is_one_sentence_and_leaves_nothing(
    cli: Cli, product: Path, tmp_path: Path, options: str, message: str
) -> None:
    run = tmp_path / "run"
    assert message in refusal(cli, 2, "train", product, "-o", run, *SMALL, *options.split())
    assert not run.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--weights {folder}/no.safetensors", "no.safetensors: no such file"),
        ("--weights {folder}/text", "text: not a readable safetensors file"),
        ("--device cuda:99", "device cuda:99: PyTorch sees"),
        ("--device mps", "device mps: unknown; give auto, cpu, cuda or cuda:N"),
        ("--crop 1,0,64,64", "rgb/000.png: The frame is 64x64 pixels, too small for the model's crop"),
    ],
)
def test_what_turns_out_later_is_one_sentence_too(
    cli: Cli, product: Path, tmp_path: Path, options: str, message: str
) -> None:
    (tmp_path / "text").write_text("no weights")
    words = options.format(folder=tmp_path).split()
    assert message in refusal(cli, 1, "train", product, "-o", tmp_path / "run", *SMALL, *words)


def test_a_learning_rate_too_large_is_named(cli: Cli, product: Path, tmp_path: Path) -> None:
    words = ("--mode", "depth", *SMALL, "--epochs", 1, "--lr", 1e30)
    said = refusal(cli, 1, "train", product, "-o", tmp_path / "run", *words)
    assert said.startswith("the teacher's loss became ")
    assert "--lr" in said


def test_data_and_run_folders_that_will_not_do(
    cli: Cli, product: Path, rgb_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    missing, run = tmp_path / "missing", tmp_path / "run"
    assert "expected a data folder" in refusal(cli, 1, "train", missing, "-o", run, *SMALL)
    assert "cannot become a run folder" in refusal(cli, 2, "train", product, "-o", tmp_path / "file", *SMALL)
    assert "already holds a run" in refusal(cli, 2, "train", product, "-o", rgb_run, *SMALL)
    assert "--output" in refusal(cli, 2, "train", product)


def test_weights_where_there_is_no_backbone(cli: Cli, product: Path, tmp_path: Path) -> None:
    words = ("--mode", "depth", "--preset", "nano", "--weights", "resnet18.safetensors")
    said = refusal(cli, 2, "train", product, "-o", tmp_path / "run", *words)
    assert said == "--weights: mode depth has no backbone; leave the option out."


def test_training_without_its_packages(process: Cli, product: Path, tmp_path: Path) -> None:
    done = process("train", product, "-o", tmp_path / "run", before="import sys; sys.modules['torch'] = None")
    assert done.code == 1
    assert "need torch, which this Python does not have" in done.error
    assert 'pip install ".[train]"' in done.error


# train --resume


def test_resume_with_the_same_options_or_none(
    cli: Cli, product: Path, depth_run: Path, unfinished: Path
) -> None:
    assert cli("train", product, "-o", unfinished, "--mode", "depth", *OPTIONS, "--resume").code == 0
    (unfinished / "spec.json").unlink()
    done = cli("train", product, "-o", unfinished, "--resume")
    assert done.code == 0
    assert done.out == cli("train", product, "-o", depth_run, "--resume").out.replace(
        str(depth_run), str(unfinished)
    )
    assert (unfinished / "spec.json").read_bytes() == (depth_run / "spec.json").read_bytes()


@pytest.mark.parametrize(
    "option",
    [
        "--mode rgbd",
        "--preset balanced",
        "--backbone resnet18:1",
        "--image-size 128",
        "--epochs 5",
        "--batch-size 4",
        "--lr 0.1",
        "--seed 1",
        "--aggregation mean",
        "--standardise none",
        "--noise 0",
        "--smoothing 1",
        "--set student.width=8",
        "--crop 0,0,32,32",
        "--false-reject-rate 0.5",
        "--holdout 0.5",
    ],
)
def test_resume_with_another_option(cli: Cli, product: Path, unfinished: Path, option: str) -> None:
    before = sorted(unfinished.iterdir())
    said = refusal(cli, 2, "train", product, "-o", unfinished, "--resume", *option.split())
    named = option.partition("=")[0] if option.startswith("--set") else option.split(maxsplit=1)[0]
    assert said.startswith(f"{named}: differs from what {unfinished} was started with")
    assert sorted(unfinished.iterdir()) == before


def test_resume_in_the_other_precision(cli: Cli, product: Path, unfinished: Path) -> None:
    other = str(not Run(unfinished).config().train.mixed_precision).lower()
    said = refusal(
        cli, 2, "train", product, "-o", unfinished, "--resume", "--set", f"mixed_precision={other}"
    )
    assert said.startswith(f"--mixed-precision: differs from what {unfinished} was started with")


def test_resume_with_other_weights(cli: Cli, product: Path, rgb_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(rgb_run, tmp_path / "run"))
    (run / "spec.json").unlink()
    said = refusal(cli, 2, "train", product, "-o", run, "--resume", "--weights", "other.safetensors")
    assert said.startswith("--weights other.safetensors: the run was started with seed 0")


def test_resume_where_there_is_nothing(cli: Cli, product: Path, tmp_path: Path) -> None:
    said = refusal(cli, 1, "train", product, "-o", tmp_path / "run", "--resume", "--mode", "depth")
    assert "contains no run to resume; start one without --resume" in said


def test_resume_with_other_data(cli: Cli, product: Path, unfinished: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(product, tmp_path / "data"))
    good = data / "train" / "good" / "xyz"
    shutil.copy(good / "001.tiff", good / "000.tiff")
    assert "is not the data that" in refusal(cli, 1, "train", data, "-o", unfinished, "--resume")


# export


def test_export_prints_the_proof(cli: Cli, depth_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "new" / "model.onnx"
    done = cli("export", depth_run, "-o", model)
    assert done.code == 0, done.err
    whole, half = done.out.splitlines()
    assert whole.startswith(f"{model}: ")
    assert half.startswith(f"{model.with_name('model.fp16.onnx')}: ")
    for line, precision, limit in ((whole, "fp32", "1e-04"), (half, "fp16", "1e-02")):
        assert f", {precision}; 6 reference vectors through ONNX Runtime: score within " in line
        assert f"(limit {limit})" in line
        assert line.endswith("0 flipped verdicts")
    assert cli("verify", model).code == 0
    assert cli("export", depth_run, "-o", model, "--precision", "fp32", "--dynamic-batch").code == 0
    assert "[N,1,64,64]" in cli("info", model).out


def test_export_refuses_in_one_sentence(cli: Cli, depth_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    assert "exclude each other" in refusal(
        cli, 2, "export", depth_run, "-o", model, "--batch", 2, "--dynamic-batch"
    )
    assert "--batch" in refusal(cli, 2, "export", depth_run, "-o", model, "--batch", 0)
    assert "must end with .onnx" in refusal(cli, 2, "export", depth_run, "-o", tmp_path / "model")
    assert "is not a run folder" in refusal(cli, 1, "export", tmp_path, "-o", model)
    damaged = unsealed(Path(shutil.copytree(depth_run, tmp_path / "damaged")))
    (damaged / "references.safetensors").write_bytes(b"PK")
    assert "the reference vectors are damaged" in refusal(cli, 1, "export", damaged, "-o", model)
    (damaged / "weights.safetensors").write_bytes(b"")
    shutil.copy(depth_run / "references.safetensors", damaged)
    assert "weights.safetensors: cannot be read" in refusal(cli, 1, "export", damaged, "-o", model)
    assert not list(tmp_path.glob("*.onnx"))


def test_a_model_that_does_not_prove_itself_is_not_written(cli: Cli, depth_run: Path, tmp_path: Path) -> None:
    run = Run(unsealed(Path(shutil.copytree(depth_run, tmp_path / "run"))))
    references = run.references()
    references.score[2] *= 1.01
    run.references_file.write_bytes(references.to_bytes())
    said = refusal(cli, 1, "export", run.path, "-o", tmp_path / "out" / "model.onnx")
    assert "does not reproduce PyTorch: score off by 0.0099 relative (allowed 0.0001)" in said
    assert not list((tmp_path / "out").iterdir())
