"""The manifest of a model.

`ModelSpec` is complete when training is done; `Manifest` adds what is known once a file has been written. The
manifest is stored in `model.onnx` as JSON under the metadata key `ast_edge.manifest`, with the SHA-256 of its
network and a digest of its own bytes (see `ast_edge.model.seal`: not a signature). Unknown and missing keys
are errors. Manifests of format 2, whose digest is that of a canonical form, are still read; format 3 is
written.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ast_edge.errors import ModelError
from ast_edge.model.roi import Mask, Roi
from ast_edge.model.seal import canonical_digest, seal_holds, sealed
from ast_edge.wording import first_problem

FORMAT_VERSION = 3
MANIFEST_KEY = "ast_edge.manifest"
REFERENCE_KEY = "ast_edge.reference"

_SEEN_BYTES = 8  # of a digest: a collision among a million parts occurs once in 10^8 models

Mode = Literal["rgb", "depth", "rgbd"]
MaskWeights = Literal["binary", "fractional"]
Precision = Literal["fp32", "fp16", "int8"]
CalibrationMethod = Literal["split", "cross"]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _named_aggregation(name: str) -> str:
    if not re.fullmatch(r"mean|max|top[1-9][0-9]{0,3}", name):
        raise ValueError("expected mean, max or topK with K from 1 to 9999, as in top5")
    return name


# "topK" is the mean of the K largest values.
Aggregation = Annotated[str, AfterValidator(_named_aggregation)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Crop(_Strict):
    """A rectangle of the camera's frame in pixels; everything outside it is ignored."""

    x: Annotated[int, Field(ge=0)]
    y: Annotated[int, Field(ge=0)]
    width: Positive
    height: Positive


class DepthPreprocessing(_Strict):
    """Settings for the inputs `depth` and `foreground` (AST, WACV 2023, "Implementation Details")."""

    foreground_min_m: Annotated[float, Field(gt=0)] = 0.007
    mask: MaskWeights = "binary"


class Preprocessing(_Strict):
    """Settings that turn a frame into the network's inputs; `roi`, where it looks, is part of the network."""

    crop: Crop | None = None
    image_size: Positive
    map_size: Positive
    colour: Literal["rgb"] = "rgb"
    resize: Literal["bilinear-antialias"] = "bilinear-antialias"
    depth: DepthPreprocessing | None = None
    roi: Roi | None = None

    @model_validator(mode="after")
    def _roi_fits(self) -> Preprocessing:
        if self.roi is not None:
            if self.depth is not None:
                raise ValueError("roi belongs to mode rgb, and only to it")
            self.roi.places(self.image_size, self.map_size)
        return self

    @property
    def looked_at(self) -> Mask | None:
        """The pixels of the network's picture that count, bool [S,S]; None: all."""
        return None if self.roi is None else self.roi.pixels(self.image_size)

    @property
    def places(self) -> int:
        """How many values of the map count: all, or those where a pixel is looked at."""
        if self.roi is None:
            return self.map_size**2
        return int(self.roi.places(self.image_size, self.map_size).sum())


class Threshold(_Strict):
    """The limit between pass and reject, and its evidence: good parts only, none of them trained on.

    A part is rejected when its score is greater than `value`. `expected_false_reject_rate` is the
    split-conformal bound of that rule on new good parts; with probability `confidence` the true rate is at
    most `upper_false_reject_rate`. `pixel_value` is the same quantile of the largest value in the map.

    By `method` "split" this network itself judged the parts. By "cross" the networks of K folds did, each
    those of its fold; both bounds then hold as far as this network scores new parts as those networks do.

    `value` is above the score of one of the parts by `margin`, 0 in manifests of format 2, so that every
    engine within the parity tolerance gives this part the same verdict (see `ast_edge.verdict.margin`).
    One that was set `by_hand` follows no rule: its bounds hold if it was not chosen by these parts.
    """

    value: float
    margin: Annotated[float, Field(ge=0)] = 0.0
    pixel_value: float
    target_false_reject_rate: Fraction
    expected_false_reject_rate: Fraction
    upper_false_reject_rate: Fraction
    confidence: Fraction
    good_parts: Positive
    good_parts_needed: Positive
    method: CalibrationMethod = "split"
    by_hand: bool = False


# The quantiles of good parts that a calibration stores.
QUANTILE_LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_Quantiles = Annotated[
    tuple[float, ...], Field(min_length=len(QUANTILE_LEVELS), max_length=len(QUANTILE_LEVELS))
]


class Calibration(_Strict):
    """The evidence of a threshold: good parts that were not trained on, and who judged them when.

    `scores` are their image scores in ascending order; of more than 1000 parts, the largest of each of 1000
    equal groups. The quantiles at `QUANTILE_LEVELS` of score, and of brightness and sharpness in modes with
    pictures, allow drift to be detected. `parts_sha256` digests the parts' files. `made` is the time in UTC,
    None for that of training.
    """

    revision: Positive
    origin: str
    operator: str | None
    made: str | None
    parts_sha256: Sha256
    scores: Annotated[tuple[float, ...], Field(min_length=2, max_length=1000)]
    score_quantiles: _Quantiles
    brightness_quantiles: _Quantiles | None
    sharpness_quantiles: _Quantiles | None


class PastCalibration(_Strict):
    """A former threshold."""

    threshold: Threshold
    calibration: Calibration


class Range(_Strict):
    """The smallest and the largest value seen."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0)]


class TrainedRange(_Strict):
    """Properties of good parts' frames; a frame outside them is a fault (see `ast_edge.frames.levels`).

    `width` and `height` in pixels; `brightness` and `contrast` in grey levels of the network's picture,
    None in mode depth.
    """

    width: Range
    height: Range
    brightness: Range | None
    contrast: Range | None


class TrainingData(_Strict):
    """The pictures that the model was trained on; `seen` identifies parts (see `seen_text`), if known."""

    fingerprint: Sha256
    layout: str
    train_parts: Positive
    holdout_parts: Positive
    seen: Annotated[str, Field(max_length=8_000_000, pattern=r"^[A-Za-z0-9+/]*={0,2}$")] | None = None

    def has_seen(self, digest: str) -> bool:
        """Whether the part of this SHA-256 (`ast_edge.files.part_sha256`) was trained on."""
        return bytes.fromhex(digest)[:_SEEN_BYTES] in self._seen

    @cached_property
    def _seen(self) -> frozenset[bytes]:
        data = base64.b64decode(self.seen or "")
        return frozenset(data[start : start + _SEEN_BYTES] for start in range(0, len(data), _SEEN_BYTES))


def seen_text(digests: Iterable[str]) -> str:
    """Encode parts that were trained on: the first 8 bytes of each SHA-256, sorted, in base64."""
    short = sorted({bytes.fromhex(digest)[:_SEEN_BYTES] for digest in digests})
    return base64.b64encode(b"".join(short)).decode()


class TensorSpec(_Strict):
    """Name, dtype and shape of one tensor; the first dimension is the batch, -1 if it is dynamic."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int, ...]


def check_aggregation(aggregation: Aggregation, values: int) -> None:
    """Raise ValueError if `topK` needs more than the values of the map that count."""
    if aggregation.startswith("top") and int(aggregation.removeprefix("top")) > values:
        raise ValueError(f"aggregation {aggregation}: the map has only {values} values; take fewer of them")


def input_specs(mode: Mode, preprocessing: Preprocessing, batch: int = 1) -> tuple[TensorSpec, ...]:
    """Return a network's inputs: `image` [N,S,S,3], `depth` [N,1,8h,8h] in cm, `foreground` [N,1,h,h]."""
    size, grid = preprocessing.image_size, preprocessing.map_size
    image = TensorSpec(name="image", dtype="uint8", shape=(batch, size, size, 3))
    depth = TensorSpec(name="depth", dtype="float32", shape=(batch, 1, 8 * grid, 8 * grid))
    foreground = TensorSpec(name="foreground", dtype="float32", shape=(batch, 1, grid, grid))
    if mode == "rgb":
        return (image,)
    return (depth, foreground) if mode == "depth" else (image, depth, foreground)


def output_specs(preprocessing: Preprocessing, batch: int = 1) -> tuple[TensorSpec, ...]:
    """Return the outputs of a network: `score` [N] and `anomaly_map` [N,h,h], raw float32."""
    grid = preprocessing.map_size
    return (
        TensorSpec(name="score", dtype="float32", shape=(batch,)),
        TensorSpec(name="anomaly_map", dtype="float32", shape=(batch, grid, grid)),
    )


class ModelSpec(_Strict):
    """Everything that determines a verdict except the weights."""

    mode: Mode
    preset: str
    backbone: str
    training_data: TrainingData
    preprocessing: Preprocessing
    # Standard deviation, in map pixels, of the Gaussian with which the network smooths its map; 0: none.
    smoothing: Annotated[float, Field(ge=0.0)] = 0.0
    aggregation: Aggregation
    threshold: Threshold
    calibration: Calibration | None = None  # the evidence for `threshold`
    trained: TrainedRange | None = None

    @model_validator(mode="after")
    def _depth_settings_follow_the_mode(self) -> ModelSpec:
        if (self.mode == "rgb") != (self.preprocessing.depth is None):
            raise ValueError("preprocessing.depth belongs to the modes depth and rgbd, and only to them")
        return self

    @model_validator(mode="after")
    def _map_holds_what_is_taken(self) -> ModelSpec:
        check_aggregation(self.aggregation, self.preprocessing.places)
        return self

    @property
    def reference_threshold(self) -> float:
        """The part's score below the first threshold: no reference vector has a score close to it.

        It does not depend on the precision, as the margin of a threshold does.
        """
        return self.threshold.value - self.threshold.margin

    def input_specs(self, batch: int = 1) -> tuple[TensorSpec, ...]:
        """Return the network's inputs; see `input_specs` of this module."""
        return input_specs(self.mode, self.preprocessing, batch)

    def output_specs(self, batch: int = 1) -> tuple[TensorSpec, ...]:
        """Return the network's outputs; see `output_specs` of this module."""
        return output_specs(self.preprocessing, batch)


class Manifest(ModelSpec):
    """A `ModelSpec` bound to one model file."""

    format_version: Literal[2, 3] = 3  # of the file that it was read from
    model_id: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    network_sha256: Sha256
    reference_sha256: Sha256  # of the vectors beside the file
    embedded_reference_sha256: Sha256 | None = None  # of those inside it
    earlier: tuple[PastCalibration, ...] = ()  # oldest first
    created: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _tensors_follow_the_mode(self) -> Manifest:
        batch = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else 0
        if batch != -1 and batch < 1:
            raise ValueError("the batch dimension must be -1 or at least 1")
        if self.inputs != self.input_specs(batch) or self.outputs != self.output_specs(batch):
            raise ValueError("inputs and outputs do not belong to this mode and these sizes")
        return self

    @property
    def reference_threshold(self) -> float:
        """Return that of the first revision, as for any `ModelSpec`."""
        first = self.earlier[0].threshold if self.earlier else self.threshold
        return first.value - first.margin

    @property
    def batch(self) -> int:
        """The batch size the file was traced with, or -1 if it is dynamic."""
        return self.inputs[0].shape[0]

    def content(self) -> dict[str, object]:
        """Return the manifest as written: keys and values in the newest format, as in JSON."""
        return {**self.model_dump(mode="json"), "format_version": FORMAT_VERSION}

    def to_json(self) -> str:
        """Return the sealed JSON text."""
        return sealed(self.content())

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Parse and check a sealed manifest; `where` names the file in messages. Raises ModelError."""
        content = _parse_object(data, where)
        version = _checked_version(content, where)
        digest = content.pop("digest", None)
        if not (digest == canonical_digest(content) if version < FORMAT_VERSION else seal_holds(data)):
            raise ModelError(
                f"{where}: the manifest was changed after it was written (its digest does not match); "
                "export the model again."
            )
        return cls.from_content(content, where)

    @classmethod
    def from_content(cls, content: dict[str, object], where: str) -> Manifest:
        """Validate the content of a manifest, without a digest; `where` as above. Raises ModelError."""
        _checked_version(content, where)
        try:
            return cls.model_validate(content)
        except ValidationError as exc:
            key, said = first_problem(exc)
            raise ModelError(
                f"{where}: manifest key '{key or 'manifest'}': {said}; export it again."
            ) from exc


def _parse_object(data: bytes, where: str) -> dict[str, object]:
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{where}: the manifest is not JSON ({exc}); export the model again.") from exc
    if not isinstance(content, dict):
        raise ModelError(f"{where}: the manifest is not a JSON object; export the model again.")
    return content


def _checked_version(content: dict[str, object], where: str) -> int:
    version = content.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ModelError(f"{where}: the manifest has no format_version; export the model again.")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{where}: manifest format {version} is newer than format {FORMAT_VERSION}, the newest this "
            "version of ast-edge reads; upgrade ast-edge on this machine."
        )
    return version
