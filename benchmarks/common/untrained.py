"""Models of any preset with random weights, complete with manifest and references, for measuring times."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.proof import SCORE_TOLERANCE, prove
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Manifest, ModelSpec, Precision, Threshold, TrainingData
from ast_edge.model.onnx_file import ModelFile, network_sha256, write_model_file
from ast_edge.model.references import References, reference_path
from ast_edge.train.backbone import build_trunks
from ast_edge.train.config import TrainConfig
from ast_edge.train.network import AstNetwork
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.quantise import to_int8
from ast_edge_export.trace import trace
from benchmarks.common import network_size

REFERENCES = 4


def make_network(config: TrainConfig) -> AstNetwork:
    """Create a network with random weights and batch norms calibrated on noise, so that no layer's output
    grows without bounds.
    """
    torch.manual_seed(0)
    network = AstNetwork(config, *build_trunks(config)).eval()
    if network.memories is not None:
        for name, values in network.memories.each.named_buffers():
            if name.endswith(("patches", "whitening")):
                nn.init.normal_(values)
    # Untrained networks multiply by zero in places: identical weights would be stored once for several
    # layers, and stay in a cache.
    for name, parameter in network.named_parameters():
        if name.endswith(("weight", "gamma")) and not parameter.any():
            nn.init.constant_(parameter, 0.1)
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    with torch.no_grad():
        for seed in range(2):
            tensors = {key: torch.from_numpy(array) for key, array in make_inputs(config, 2, seed).items()}
            network(**tensors)
    for norm in norms:
        norm.eval()
    return network


def make_inputs(config: TrainConfig, count: int, seed: int) -> dict[str, Array]:
    """Return smooth noise as pictures, and a disc with a rough surface as the part."""
    rng = np.random.default_rng(seed)
    size, grid = config.image_size, config.map_size
    inputs: dict[str, Array] = {}
    if config.mode != "depth":
        coarse = rng.integers(0, 256, (count, max(size // 8, 1), max(size // 8, 1), 3), dtype=np.uint8)
        inputs["image"] = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :size, :size]
    if config.mode != "rgb":
        inputs["depth"] = rng.normal(0, 1, (count, 1, 8 * grid, 8 * grid)).astype(np.float32)
        inputs["foreground"] = np.ones((count, 1, grid, grid), np.float32)
        inputs["foreground"][:, :, 0] = 0
    return inputs


def write_model(name: str, config: TrainConfig, folder: Path, *, int8: bool = False) -> dict[str, Any]:
    """Write `NAME.onnx` and its reference vectors, as an export does; return the network's size and cost.

    With `int8` also `NAME.int8.onnx`, if it reproduces the references; the result describes the outcome.
    """
    network = make_network(config)
    folded = FoldedNetwork(network)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.onnx"
    inputs = make_inputs(config, REFERENCES, seed=7)
    with torch.inference_mode():
        tensors = {key: torch.from_numpy(array) for key, array in inputs.items()}
        score, anomaly_map = (output.numpy() for output in network(**tensors))
    references = References(inputs, score, anomaly_map)
    spec = _spec(config, float(score.max()))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "network.onnx"
        with torch.inference_mode():
            onnx.save(trace(folded, spec.input_specs(-1), Path(scratch) / "traced.onnx"), path)
        _write(target, path, spec, references)
        quantised = _write_int8(target, path, spec, references) if int8 else None
    return {
        "name": name,
        "mode": config.mode,
        "preset": config.preset,
        "bytes": target.stat().st_size,
        "int8": quantised,
        **network_size.measure(network, config),
    }


def _write_int8(target: Path, network: Path, spec: ModelSpec, references: References) -> str:
    """Write `NAME.int8.onnx` if ONNX Runtime reproduces the references with it; describe the outcome."""
    parts = [references.subset([index]).inputs for index in range(len(references))]
    quantised = network.with_name("int8.onnx")
    onnx.save(to_int8(onnx.load(network), parts), quantised)
    path = target.with_name(f"{target.stem}.int8.onnx")
    model = _write(path, quantised, spec, references, "int8")
    with OnnxRuntimeBackend(model) as backend:
        parity = prove(backend, references, spec, SCORE_TOLERANCE["int8"])
    if not parity.ok:
        path.unlink()
        return f"left out: the score is {parity.max_relative_score_error:.2g} off"
    return f"written: the score is {parity.max_relative_score_error:.2g} off"


def _spec(config: TrainConfig, top_score: float) -> ModelSpec:
    """Return a spec whose threshold is well above every score: no verdict flips by rounding."""
    threshold = Threshold(
        value=2 * top_score,
        pixel_value=2 * top_score,
        target_false_reject_rate=0.01,
        expected_false_reject_rate=0.01,
        upper_false_reject_rate=1.0,
        confidence=0.95,
        good_parts=REFERENCES,
        good_parts_needed=99,
    )
    return ModelSpec(
        mode=config.mode,
        preset=config.preset,
        backbone=config.backbone.describe(),
        training_data=TrainingData(fingerprint="0" * 64, layout="none", train_parts=1, holdout_parts=1),
        preprocessing=config.preprocessing,
        smoothing=config.smoothing,
        aggregation=config.aggregation,
        threshold=threshold,
    )


def _write(
    target: Path, network: Path, spec: ModelSpec, references: References, precision: Precision = "fp32"
) -> ModelFile:
    embedded = references.subset([0]).to_bytes()
    sha256 = network_sha256(network)
    manifest = Manifest(
        **spec.model_dump(),
        model_id=f"untrained-{target.stem}-{sha256[:12]}",
        precision=precision,
        inputs=spec.input_specs(-1),
        outputs=spec.output_specs(-1),
        network_sha256=sha256,
        reference_sha256=hashlib.sha256(references.to_bytes()).hexdigest(),
        embedded_reference_sha256=hashlib.sha256(embedded).hexdigest(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions={"torch": torch.__version__},
    )
    reference_path(target).write_bytes(references.to_bytes())
    return write_model_file(target, network, manifest, embedded)
