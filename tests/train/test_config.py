"""The presets against the paper, and configurations that are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ast_edge.errors import UsageError
from ast_edge.model.manifest import DepthPreprocessing, Mode
from ast_edge.train.config import B5, BackboneConfig, PresetName, TrainConfig, changed, preset

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")
PRESETS: tuple[PresetName, ...] = ("paper", "balanced", "nano")


# Presets


def test_paper_for_rgb() -> None:
    config = preset("paper", "rgb")
    assert (config.teacher.hidden, config.teacher.clamp, config.teacher.epochs) == (1024, 3.0, 240)
    assert config.student.epochs == 240
    assert config.aggregation == "mean"


@pytest.mark.parametrize("mode", ["depth", "rgbd"])
def test_paper_with_depth(mode: Mode) -> None:
    config = preset("paper", mode)
    assert (config.teacher.hidden, config.teacher.clamp, config.teacher.epochs) == (64, 1.9, 72)
    assert config.student.epochs == 72
    assert config.aggregation == "max"


@pytest.mark.parametrize("mode", MODES)
def test_paper_in_every_mode(mode: Mode) -> None:
    config = preset("paper", mode)
    assert config.teacher.kernels == (3, 3, 3, 5)
    assert (config.student.width, config.student.blocks, config.student.leaky_slope) == (1024, 4, 0.2)
    assert (config.image_size, config.map_size) == (768, 24)
    assert (config.backbone.name, config.backbone.last_block) == ("tf_efficientnet_b5.aa_in1k", 5)
    assert config.backbone.padding == "authors"
    assert (config.mask, config.foreground_min_m) == ("binary", 0.007)
    assert (config.batch_size, config.lr, config.weight_decay) == (8, 2e-4, 1e-5)
    assert (config.standardise, config.noise, config.schedule, config.smoothing) == (
        *("none", 0.0),
        *("constant", 0.0),
    )
    assert config.mixed_precision is False
    assert (config.backbone.neighbourhood, config.student.hard_share) == (1, 0.0)


@pytest.mark.parametrize("mode", MODES)
def test_small_presets_standardise_add_noise_and_are_ordered_by_cost(mode: Mode) -> None:
    paper, balanced, nano = (preset(name, mode) for name in PRESETS)
    for config in (balanced, nano):
        assert config.standardise == "channel"
        assert config.noise > 0
        assert (config.backbone.neighbourhood, config.student.hard_share) == (3, 0.05)
        assert config.mixed_precision is None
    assert paper.image_size > balanced.image_size >= nano.image_size
    assert paper.student.width > balanced.student.width >= nano.student.width
    assert balanced.teacher.hidden > nano.teacher.hidden


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_its_name_and_survives_json(name: PresetName, mode: Mode) -> None:
    config = preset(name, mode)
    assert (config.preset, config.mode) == (name, mode)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("mode", MODES)
def test_preprocessing_follows_the_mode(mode: Mode) -> None:
    config = changed(
        preset("nano", mode),
        {
            "crop": {"x": 1, "y": 2, "width": 30, "height": 40},
            "mask": "fractional",
            "foreground_min_m": 0.002,
        },
    )
    made = config.preprocessing
    depth = DepthPreprocessing(foreground_min_m=0.002, mask="fractional")
    assert made.depth == (None if mode == "rgb" else depth)
    assert (made.image_size, made.map_size, made.crop) == (config.image_size, config.map_size, config.crop)


def test_backbone_describes_itself_as_the_option_takes_it() -> None:
    assert B5.describe() == "tf_efficientnet_b5.aa_in1k:blocks5"
    assert BackboneConfig(name="resnet18", stages=(2, 3), stride=16).describe() == "resnet18:2,3"


# Changes and refusals


def test_changed_reaches_inside_and_leaves_the_rest() -> None:
    before = preset("nano", "rgb")
    after = changed(before, {"teacher.epochs": 3, "lr": 1e-3})
    assert (after.teacher.epochs, after.lr) == (3, 1e-3)
    assert changed(after, {"teacher.epochs": before.teacher.epochs, "lr": before.lr}) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", 1),
        ("teacher.width", 3),
        ("student.hidden", 3),
        ("backbone.layer", 1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("noise", -0.1),
        ("noise", float("inf")),
        ("batch_size", 0),
        ("seed", -1),
        ("image_size", "large"),
        ("aggregation", "sum"),
        ("mode", "RGB"),
        ("preset", "huge"),
        ("holdout", 1.0),
        ("false_reject_rate", 0.0),
        ("teacher.clamp", 0.0),
        ("teacher.kernels", ()),
        ("student.blocks", 0),
        ("student.hard_share", 1.1),
        ("crop", {"x": -1, "y": 0, "width": 4, "height": 4}),
    ],
)
def test_unknown_key_or_impossible_value_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^{key}.*\(given: ") as caught:
        changed(preset("nano", "rgb"), {key: value})
    assert "\n" not in str(caught.value)


def test_even_neighbourhood_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"^backbone\.neighbourhood: the size of a kernel must be odd.*given: 2"
    ):
        changed(preset("nano", "rgb"), {"backbone.neighbourhood": 2})


def test_even_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^teacher\.kernels\.1: the size of a kernel must be odd.*given: 4"):
        changed(preset("nano", "rgb"), {"teacher.kernels": (3, 4)})


@pytest.mark.parametrize(("size", "fitting"), [(250, "240 or 256"), (3, "16 or 32"), (257, "256 or 272")])
def test_image_size_must_be_a_multiple_of_the_stride(size: int, fitting: str) -> None:
    with pytest.raises(
        UsageError, match=rf"^image_size {size} is not a multiple of the .*stride, 16; choose {fitting}\.$"
    ):
        changed(preset("nano", "rgb"), {"image_size": size})


@pytest.mark.parametrize("cut", [{}, {"stages": (2, 3), "last_block": 5}])
def test_backbone_is_cut_in_exactly_one_way(cut: dict[str, object]) -> None:
    backbone = {"name": "resnet18", "stride": 16, **cut}
    with pytest.raises(UsageError, match=r"^backbone: give either stages or last_block"):
        changed(preset("nano", "rgb"), {"backbone": backbone})


def test_configuration_is_immutable() -> None:
    config = preset("nano", "rgb")
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, "seed", 1)  # noqa: B010  # an assignment that a type checker refuses too
