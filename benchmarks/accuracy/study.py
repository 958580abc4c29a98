"""What the accuracy study trains: rows of settings, fixed here before any of them is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODES = ("rgb", "depth", "rgbd")
# Files for --weights; a trunk whose weights are an installed package needs none.
RESNET18, PACKAGED = "resnet18_stages123.safetensors", ""
CROP = ("--crop", "auto")


@dataclass(frozen=True)
class Row:
    """Options of `ast-edge train`, to be run in some modes with some seeds."""

    name: str
    about: str
    options: tuple[str, ...]
    modes: tuple[str, ...] = ("rgb",)
    seeds: tuple[int, ...] = (0,)
    weights: str = RESNET18
    export: bool = False


@dataclass(frozen=True)
class DataSet:
    """Where the parts of a data set lie in its folder, and what its pictures ask of `ast-edge train`."""

    train: str = ""
    test: str = ""
    defective: str | None = None
    options: tuple[str, ...] = ()
    cropped: bool = True  # whether the rows' --crop auto is for it

    def options_of(self, row: Row) -> tuple[str, ...]:
        """What goes to `ast-edge train` for a row on this data."""
        own = row.options if self.cropped else tuple(word for word in row.options if word not in CROP)
        return (*own, *self.options)

    def testing(self, data: Path) -> tuple[Path, ...]:
        """What goes to `ast-edge evaluate` behind the run, for the set in the folder `data`."""
        defective = () if self.defective is None else (Path("--defective"), data / self.defective)
        return (data / self.test, *defective)


# The parts of these fill their pictures, or lie anywhere in them: they are judged whole.
SETS = {
    "magnetic_tile": DataSet(options=("--mixed-sizes",), cropped=False),
    "screw_half": DataSet("good_train", "good_test", "defective", cropped=False),
}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _balanced(name: str, about: str, change: str, seeds: tuple[int, ...] = (0,)) -> Row:
    return Row(name, about, _words(f"--preset balanced --crop auto {change}"), seeds=seeds)


SEEDS = (0, 1, 2)
BALANCED = _words("--preset balanced --crop auto")
NANO = _words("--preset nano --crop auto")
ROWS = (
    Row("balanced", "the preset", BALANCED, MODES, SEEDS, export=True),
    Row("nano", "the preset", NANO, MODES, SEEDS, PACKAGED, export=True),
    Row("no_crop", "the whole frame", _words("--preset balanced")),
    _balanced("no_noise", "no noise on the features", "--noise 0"),
    _balanced("raw", "features not standardised", "--standardise none"),
    _balanced("noise_0.15", "half the noise", "--noise 0.15"),
    _balanced("noise_0.6", "twice the noise", "--noise 0.6"),
    _balanced("constant_lr", "the paper's learning rate", "--set schedule=constant --lr 2e-4"),
    _balanced("clamp_3", "clamp 3", "--set teacher.clamp=3"),
    _balanced("teacher_32", "teacher's hidden width 32", "--set teacher.hidden=32"),
    _balanced(
        "student_128x4", "student 128 wide, 4 blocks", "--set student.width=128 --set student.blocks=4"
    ),
    _balanced(
        "student_256x4", "student 256 wide, 4 blocks", "--set student.width=256 --set student.blocks=4"
    ),
    _balanced("student_64x1", "student 64 wide, 1 block", "--set student.blocks=1"),
    _balanced("stages_23", "ResNet-18 stages 2 and 3", "--backbone resnet18:2,3", SEEDS),
    _balanced("stage_3", "ResNet-18 stage 3 alone", "--backbone resnet18:3"),
    _balanced("size_384", "pictures of 384 pixels", "--image-size 384"),
    _balanced("size_512", "pictures of 512 pixels", "--image-size 512"),
    Row(
        "fractional_mask",
        "mask weights as fractions",
        (*BALANCED, *_words("--set mask=fractional")),
        modes=("rgbd",),
    ),
)
