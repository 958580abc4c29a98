"""An FP32 model file in mixed precision, for machines that build FP16 engines. Imports onnx."""

from __future__ import annotations

from pathlib import Path

import onnx

from ast_edge.model.half_precision import to_mixed_precision
from ast_edge.model.onnx_file import ModelFile, network_sha256, write_model_file
from ast_edge.verdict.margin import for_precision


def write_mixed_precision(model: ModelFile, target: Path) -> ModelFile:
    """Write `model`, an FP32 model file, to `target` in mixed precision, with the same reference vectors.

    The threshold gets the margin of FP16. Nothing is proven here: the caller compares it with the references
    before it is used. Raises ModelError when the network cannot be converted or written.
    """
    graph = onnx.load_from_string(model.content)
    del graph.metadata_props[:]
    network = target.with_suffix(".network")
    try:
        onnx.save(to_mixed_precision(graph), network)
        sha256 = network_sha256(network)
        manifest = for_precision(model.manifest, "fp16").model_copy(
            update={
                "precision": "fp16",
                "network_sha256": sha256,
                "model_id": f"{model.manifest.model_id.rpartition('-')[0]}-{sha256[:12]}",
            }
        )
        return write_model_file(target, network, manifest, model.embedded_reference)
    finally:
        network.unlink(missing_ok=True)
