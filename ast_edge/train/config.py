"""Configuration of a training run: validated and immutable, with three presets.

Where the paper and its authors' published code differ, the preset `paper` follows the paper, and the field's
comment gives the other value.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ast_edge.errors import UsageError
from ast_edge.model.manifest import (
    Aggregation,
    CalibrationMethod,
    Crop,
    DepthPreprocessing,
    MaskWeights,
    Mode,
    Positive,
    Preprocessing,
    check_aggregation,
)
from ast_edge.model.roi import Roi
from ast_edge.verdict.threshold import USUAL_FALSE_REJECT_RATE, USUAL_HOLDOUT
from ast_edge.wording import first_problem

PresetName = Literal["paper", "balanced", "nano"]
Padding = Literal["authors", "dynamic"]
Standardise = Literal["none", "channel"]
Schedule = Literal["constant", "one-cycle"]
NonNegative = Annotated[float, Field(ge=0.0)]


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("the size of a kernel must be odd, so that the map keeps its size")
    return size


Kernel = Annotated[Positive, AfterValidator(_odd)]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class BackboneConfig(_Strict):
    """A frozen timm network and the place from which its features are taken.

    `stages` are timm's `features_only` indices; their maps are averaged down to the coarsest grid and
    concatenated. Without `stages` the network is an EfficientNet cut after `blocks[last_block]`, which
    `features_only` does not offer: block 36 of EfficientNet-B5, which the paper uses ("Implementation
    Details"), is the end of `blocks[5]`.
    `stride` is the size of the picture divided by the size of the map.
    """

    name: str
    stages: tuple[int, ...] = ()
    last_block: int | None = None
    stride: Positive
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    # "SAME" padding of the tf_ networks: for the size in use ("dynamic", as timm and TensorFlow do), or
    # always for
    # 456 pixels ("authors", as the published code does).
    padding: Padding = "dynamic"
    pad_type: Literal["", "same"] = ""
    # Each stage is averaged over a square of this side before pooling; 1, as in the paper: no averaging.
    # Zeros beyond the border keep places at the border distinct from those inside.
    neighbourhood: Kernel = 1

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> BackboneConfig:
        if bool(self.stages) == (self.last_block is not None):
            raise ValueError("give either stages or last_block")
        return self

    def describe(self) -> str:
        """Return the form used by `--backbone`: `resnet18:2,3` or `tf_efficientnet_b5.aa_in1k:blocks5`."""
        where = ",".join(map(str, self.stages)) if self.stages else f"blocks{self.last_block}"
        return f"{self.name}:{where}"


class TeacherConfig(_Strict):
    """The normalising flow (paper, "Teacher")."""

    hidden: Positive
    clamp: Annotated[float, Field(gt=0)]
    epochs: Positive
    kernels: Annotated[tuple[Kernel, ...], Field(min_length=1)] = (3, 3, 3, 5)


class StudentConfig(_Strict):
    """The feed-forward network that regresses the teacher's output (paper, "Student")."""

    width: Positive
    blocks: Positive
    epochs: Positive
    leaky_slope: NonNegative = 0.2  # paper, "Implementation Details"; the published code has 0.01
    # Fraction of places, the worst predicted, whose mean makes up half of the loss; 0, as in the paper: none.
    hard_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class MemoryConfig(_Strict):
    """One memory of patches of good parts, in the modes with pictures (see `ast_edge.train.memory`)."""

    # Either stages of the network's own backbone, or another backbone.
    # The network's own backbone, with these of its stages, or one more, given whole.
    stages: tuple[int, ...] = ()
    backbone: BackboneConfig | None = None
    stride: Positive = 8  # of the finest stage: size of the picture divided by size of the map
    shrink: Positive = 1  # factor by which the picture is averaged down for the backbone
    components: Positive | None = None  # principal components, whitened; None: channels unchanged
    patches: Positive = 1000

    @model_validator(mode="after")
    def _one_source(self) -> MemoryConfig:
        if bool(self.stages) == (self.backbone is not None):
            raise ValueError("give either stages of the network's own backbone or another backbone")
        if self.backbone is not None and not self.backbone.stages:
            raise ValueError("a memory's backbone must be given by stages")
        return self


class TrainConfig(_Strict):
    """All settings that determine the result of a run on given data."""

    mode: Mode
    preset: PresetName
    backbone: BackboneConfig
    image_size: Positive
    teacher: TeacherConfig
    student: StudentConfig
    memories: tuple[MemoryConfig, ...] = ()  # fused with teacher and student; none in the paper
    aggregation: Aggregation
    smoothing: NonNegative = 0.0  # of the map, standard deviation in map pixels; none in the paper
    mask: MaskWeights = "binary"  # paper, "Teacher"; the published code keeps fractions
    foreground_min_m: Annotated[float, Field(gt=0)] = 0.007  # paper, "Implementation Details"
    standardise: Standardise = "none"
    noise: NonNegative = 0.0  # standard deviation, in units of the features after standardisation
    batch_size: Positive = 8
    lr: Annotated[float, Field(gt=0)] = 2e-4
    schedule: Schedule = "constant"  # as in the paper; "one-cycle" makes `lr` the peak
    weight_decay: NonNegative = 1e-5
    crop: Crop | None = None
    roi: Roi | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    mixed_precision: bool | None = False  # None: decided at the start, True if the CPU multiplies bfloat16
    holdout: Annotated[float, Field(gt=0, lt=1)] = USUAL_HOLDOUT
    false_reject_rate: Annotated[float, Field(gt=0, lt=1)] = USUAL_FALSE_REJECT_RATE
    calibration: CalibrationMethod = "split"  # what the threshold rests on: held-out parts, or all by folds
    folds: Annotated[int, Field(ge=2)] = 5  # of calibration "cross"
    exclude_outliers: bool = False  # with "cross": leave out parts that may be defective

    @model_validator(mode="after")
    def _size_fits_the_stride(self) -> TrainConfig:
        if self.image_size % self.backbone.stride:
            stride = self.backbone.stride
            fitting = max(self.image_size // stride, 1) * stride
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the backbone's stride, {stride}; "
                f"choose {fitting} or {fitting + stride}"
            )
        return self

    @model_validator(mode="after")
    def _outliers_are_judged(self) -> TrainConfig:
        if self.exclude_outliers and self.calibration == "split":
            raise ValueError(
                "exclude_outliers needs calibration cross, which judges every good part; set both or neither"
            )
        return self

    @model_validator(mode="after")
    def _map_holds_what_is_taken(self) -> TrainConfig:
        if self.roi is not None and self.mode != "rgb":
            raise ValueError(f"a region of interest needs mode rgb, not {self.mode}")
        check_aggregation(self.aggregation, self.preprocessing.places)
        return self

    @model_validator(mode="after")
    def _memories_fit(self) -> TrainConfig:
        if self.memories and self.mode == "depth":
            raise ValueError("memories need pictures, which mode depth does not have; give no memories")
        if len({memory.backbone for memory in self.memories} - {None}) > 1:
            raise ValueError("memories may use at most one backbone besides the network's own")
        for memory in self.memories:
            if missing := set(memory.stages) - set(self.backbone.stages):
                raise ValueError(f"a memory's stage {min(missing)} is not one of {self.backbone.describe()}")
            coarsest = memory.shrink * (memory.backbone or self.backbone).stride
            if self.image_size % coarsest:
                raise ValueError(
                    f"image_size {self.image_size} is not a multiple of {coarsest}, which a memory needs; "
                    f"choose {self.image_size // coarsest * coarsest + coarsest}, or give no memories"
                )
        grids = {self.image_size // (memory.shrink * memory.stride) for memory in self.memories}
        if any(self.map_size % grid for grid in grids | {self.grid}):
            raise ValueError(f"the grids {sorted(grids | {self.grid})} are not multiples of one another")
        return self

    @property
    def further_backbone(self) -> BackboneConfig | None:
        """The backbone that memories use besides the network's own; None without one."""
        return next((memory.backbone for memory in self.memories if memory.backbone is not None), None)

    @property
    def grid(self) -> int:
        """Rows and columns of the features of teacher and student."""
        return self.image_size // self.backbone.stride

    @property
    def map_size(self) -> int:
        """Rows and columns of the anomaly map: the finest grid of all distances."""
        return max(
            self.grid, *(self.image_size // (memory.shrink * memory.stride) for memory in self.memories), 1
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """How a frame becomes the network's inputs, in training and on the line."""
        depth = DepthPreprocessing(foreground_min_m=self.foreground_min_m, mask=self.mask)
        return Preprocessing(
            crop=self.crop,
            image_size=self.image_size,
            map_size=self.map_size,
            depth=None if self.mode == "rgb" else depth,
            roi=self.roi,
        )


B5 = BackboneConfig(name="tf_efficientnet_b5.aa_in1k", last_block=5, stride=32, padding="authors")
RESNET18 = BackboneConfig(name="resnet18", stages=(1, 2, 3), stride=16, neighbourhood=3)
_HALF = (0.5, 0.5, 0.5)
LITE0 = BackboneConfig(
    name="tf_efficientnet_lite0", stages=(2, 3), stride=16, mean=_HALF, std=_HALF, neighbourhood=3
)


# EfficientNet's few channels are strongly correlated: its memory is whitened. ResNet's is not.
# Two networks seldom overlook the same thing, and the second costs an eighth of the first.
BALANCED_MEMORIES = (MemoryConfig(stages=(2, 3)), MemoryConfig(backbone=LITE0, components=96))
NANO_MEMORIES = (MemoryConfig(stages=(2, 3), components=96),)


def preset(name: PresetName, mode: Mode) -> TrainConfig:
    """Return the preset `name` for `mode`.

    `paper` follows the paper's "Implementation Details": for RGB (MVTec AD) a hidden width of 1024, clamp 3,
    240 epochs and the mean of the map; with depth (MVTec 3D-AD) 64, 1.9, 72 epochs and the maximum.
    `balanced` and `nano` are for small computers. They average each stage of the backbone over 3x3 places,
    standardise the features and add noise to them, without which the flow overfits a few hundred pictures,
    train in one cycle with a small student whose loss emphasises its worst places, and take the maximum of a
    smoothed map: see benchmarks/results/accuracy.
    """
    masked = mode != "rgb"
    if name == "paper":
        epochs = 72 if masked else 240
        return TrainConfig(
            mode=mode,
            preset=name,
            backbone=B5,
            image_size=768,
            teacher=TeacherConfig(hidden=64 if masked else 1024, clamp=1.9 if masked else 3.0, epochs=epochs),
            student=StudentConfig(width=1024, blocks=4, epochs=epochs),
            aggregation="max" if masked else "mean",
        )
    small = name == "nano"
    return TrainConfig(
        mode=mode,
        preset=name,
        backbone=LITE0 if small else RESNET18,
        image_size=256,
        teacher=TeacherConfig(hidden=24 if small else 64, clamp=1.9, epochs=32 if small else 16),
        student=StudentConfig(width=64, blocks=2, epochs=16 if small else 12, hard_share=0.05),
        memories=() if mode == "depth" else NANO_MEMORIES if small else BALANCED_MEMORIES,
        aggregation="max",
        smoothing=0.7,
        standardise="channel",
        noise=0.1,
        lr=2e-3,
        schedule="one-cycle",
        mixed_precision=None,
    )


def changed(config: TrainConfig, changes: dict[str, object]) -> TrainConfig:
    """Return `config` with keys replaced (dotted keys are nested); UsageError names a bad value."""
    content: dict[str, object] = config.model_dump()
    for key, value in changes.items():
        *path, last = key.split(".")
        target = content
        for part in path:
            inner = target[part]
            assert isinstance(inner, dict)  # noqa: S101  # keys come from our own code
            target = inner
        target[last] = value
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as exc:
        first = exc.errors()[0]
        key, text = first_problem(exc)
        # A rule about several keys concerns the whole configuration; its message contains the values.
        raise UsageError(f"{key}: {text} (given: {first['input']!r:.80})." if key else f"{text}.") from exc
