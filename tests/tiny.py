"""Tiny real models: ONNX files of a few kilobytes that pass every check and run on ONNX Runtime.

Their anomaly map is the mean squared distance of a picture from mid-grey (0 on grey, 0.25 on black or white),
plus the mean squared depth in cm; with depth it is weighted by the foreground. So a test can provoke any
verdict: `grey()` and a flat part pass, `white()` and a bumpy part are rejected.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ast_edge.files import write_bytes
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import (
    DepthPreprocessing,
    Manifest,
    Mode,
    ModelSpec,
    Preprocessing,
    TensorSpec,
    Threshold,
    TrainingData,
)
from ast_edge.model.onnx_file import network_sha256, write_model_file
from ast_edge.model.references import References, reference_path

IMAGE_SIZE = 32
MAP_SIZE = 4
_POOL = IMAGE_SIZE // MAP_SIZE
_ONNX_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def grey(height: int = 40, width: int = 48) -> NDArray[np.uint8]:
    """A picture that passes."""
    return np.full((height, width, 3), 128, np.uint8)


def white(height: int = 40, width: int = 48) -> NDArray[np.uint8]:
    """A picture that is rejected."""
    return np.full((height, width, 3), 255, np.uint8)


def flat_part(height: int = 40, width: int = 48) -> NDArray[np.float32]:
    """Depth in metres of a flat part, 2 cm high; it passes."""
    depth = np.full((height, width), 0.50, np.float32)
    depth[height // 4 : -height // 4, width // 4 : -width // 4] = 0.48
    return depth


def bumpy_part(height: int = 40, width: int = 48) -> NDArray[np.float32]:
    """Depth in metres of a part with a step of 4 cm; it is rejected."""
    depth = flat_part(height, width)
    depth[height // 4 : height // 2, width // 4 : -width // 4] -= 0.04
    return depth


def part(mode: Mode, *, good: bool) -> dict[str, Any]:
    """What `Inspector.inspect` takes of a part that passes or is rejected."""
    inputs: dict[str, Any] = {}
    if mode != "depth":
        inputs |= {"frame": grey() if good else white(), "colour": "bgr"}
    if mode != "rgb":
        inputs["depth_m"] = flat_part() if good else bumpy_part()
    return inputs


def tiny_spec(mode: Mode = "rgb") -> ModelSpec:
    """What a tiny model of `mode` says about itself: mean score in mode rgb, max in the others."""
    return ModelSpec(
        mode=mode,
        preset="nano",
        backbone="none",
        training_data=TrainingData(fingerprint="0" * 64, layout="folder", train_parts=10, holdout_parts=99),
        preprocessing=Preprocessing(
            image_size=IMAGE_SIZE,
            map_size=MAP_SIZE,
            depth=None if mode == "rgb" else DepthPreprocessing(),
        ),
        aggregation="mean" if mode == "rgb" else "max",
        threshold=Threshold(
            value=0.1,
            pixel_value=0.15,
            target_false_reject_rate=0.01,
            expected_false_reject_rate=0.01,
            upper_false_reject_rate=0.03,
            confidence=0.95,
            good_parts=99,
            good_parts_needed=99,
        ),
    )


def tiny_inputs(spec: ModelSpec, count: int = 3, seed: int = 0) -> dict[str, Array]:
    """Random inputs of the network, `count` of each; the first picture is mid-grey."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for tensor in spec.input_specs(count):
        if tensor.name == "image":
            inputs["image"] = rng.integers(0, 256, tensor.shape, dtype=np.uint8)
            inputs["image"][0] = 128
        elif tensor.name == "depth":
            inputs["depth"] = rng.normal(0, 1, tensor.shape).astype(np.float32)
        else:
            inputs["foreground"] = rng.integers(0, 2, tensor.shape).astype(np.float32)
            inputs["foreground"][:, :, 0, 0] = 1
    return inputs


def tiny_network(spec: ModelSpec, batch: int = 1) -> onnx.ModelProto:
    """The network alone, without manifest; `batch` -1 leaves the batch dimension free."""
    nodes = [
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Constant", [], ["scale"], value_float=255.0),
        helper.make_node("Constant", [], ["outside"], value_float=-np.inf),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
    ]
    terms = []
    if spec.mode != "depth":
        nodes += _image_nodes()
        terms.append("image_term")
    if spec.mode != "rgb":
        nodes += _pool_nodes("depth", "depth_term")
        terms.append("depth_term")
    nodes.append(helper.make_node("Sum", terms, ["plain_map"]))
    nodes += _score_nodes(spec)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [_value_info(tensor) for tensor in spec.input_specs(batch)],
        [_value_info(tensor) for tensor in spec.output_specs(batch)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_tiny_model(
    folder: Path, mode: Mode = "rgb", *, batch: int = 1, name: str = "model", spec: ModelSpec | None = None
) -> Path:
    """Write `<name>.onnx` with manifest and embedded references, and the same references beside it.

    `spec` is another than `tiny_spec(mode)`: another threshold, crop, or size of input and map alike.
    """
    spec = spec or tiny_spec(mode)
    network = folder / f"{name}.network.onnx"
    network.write_bytes(tiny_network(spec, batch).SerializeToString())
    references = _answer(network, tiny_inputs(spec), batch)
    packed = references.to_bytes()
    target = folder / f"{name}.onnx"
    write_bytes(reference_path(target), packed)
    manifest = tiny_manifest(spec, network, batch=batch, reference_sha256=_sha256(packed))
    write_model_file(target, network, manifest, packed)
    network.unlink()
    return target


def tiny_manifest(
    spec: ModelSpec, network: Path, *, batch: int = 1, reference_sha256: str = "1" * 64
) -> Manifest:
    """`spec` bound to the file `network`."""
    return Manifest(
        **spec.model_dump(),
        model_id=f"tiny-{spec.mode}",
        precision="fp32",
        inputs=spec.input_specs(batch),
        outputs=spec.output_specs(batch),
        network_sha256=network_sha256(network),
        reference_sha256=reference_sha256,
        created="2025-01-01T00:00:00Z",
        versions={"onnx": onnx.__version__},
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _value_info(tensor: TensorSpec) -> onnx.ValueInfoProto:
    shape = ["N" if size == -1 else size for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, _ONNX_TYPES[tensor.dtype], shape)


def _image_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "half"], ["distance"]),
        helper.make_node("Transpose", ["distance"], ["planes"], perm=[0, 3, 1, 2]),
        *_pool_nodes("planes", "image_term"),
    ]


def _pool_nodes(source: str, target: str) -> list[onnx.NodeProto]:
    """Mean square over channels and over the pixels of one map cell: [N,C,32,32] -> [N,4,4]."""
    square, pooled = f"{source}_square", f"{source}_pooled"
    return [
        helper.make_node("Mul", [source, source], [square]),
        helper.make_node("AveragePool", [square], [pooled], kernel_shape=[_POOL] * 2, strides=[_POOL] * 2),
        helper.make_node("ReduceMean", [pooled], [target], axes=[1], keepdims=0),
    ]


def _score_nodes(spec: ModelSpec) -> list[onnx.NodeProto]:
    if spec.mode == "rgb":
        return [
            helper.make_node("Identity", ["plain_map"], ["anomaly_map"]),
            helper.make_node("ReduceMean", ["plain_map"], ["score"], axes=[1, 2], keepdims=0),
        ]
    return [
        helper.make_node("Squeeze", ["foreground", "one"], ["weights"]),
        helper.make_node("Mul", ["plain_map", "weights"], ["anomaly_map"]),
        helper.make_node("Greater", ["weights", "zero"], ["part"]),
        helper.make_node("Where", ["part", "anomaly_map", "outside"], ["inside"]),
        helper.make_node("ReduceMax", ["inside"], ["score"], axes=[1, 2], keepdims=0),
    ]


def _answer(network: Path, inputs: dict[str, Array], batch: int) -> References:
    """What ONNX Runtime answers, vector by vector, as training's network would have."""
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    scores, maps = [], []
    for index in range(len(next(iter(inputs.values())))):
        vector = {key: array[[index] * max(batch, 1)] for key, array in inputs.items()}
        score, anomaly_map = session.run(["score", "anomaly_map"], vector)
        scores.append(score[0])
        maps.append(anomaly_map[0])
    return References(inputs, np.array(scores, np.float32), np.stack(maps))
