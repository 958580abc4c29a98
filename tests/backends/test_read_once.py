"""A model is read once: a file that takes its name while it is opened is never mixed with it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from ast_edge import Inspector
from ast_edge.backends import BackendName
from ast_edge.model.manifest import Manifest
from ast_edge.model.onnx_file import write_model_file
from tests.tiny import grey, tiny_manifest, tiny_network, tiny_spec

OPENED = 60


def write_model(path: Path, half: float) -> Manifest:
    """A tiny model whose mid-grey is at `half`; its name says so."""
    network = tiny_network(tiny_spec())
    for node in network.graph.node:
        if node.output[0] == "half":
            node.attribute[0].f = half
    scratch = path.with_suffix(".network")
    onnx.save(network, scratch)
    manifest = tiny_manifest(tiny_spec(), scratch).model_copy(update={"model_id": f"half-{half}"})
    return write_model_file(path, scratch, manifest, None).manifest


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_manifest_and_network_are_of_one_file(tmp_path: Path, backend: BackendName) -> None:
    for half in (0.25, 0.5):
        write_model(tmp_path / f"{half}.onnx", half)
    path, stop = tmp_path / "model.onnx", threading.Event()
    shutil.copy(tmp_path / "0.5.onnx", path)

    def exchange() -> None:
        while not stop.is_set():
            for half in (0.25, 0.5):
                shutil.copy(tmp_path / f"{half}.onnx", tmp_path / "next")
                (tmp_path / "next").replace(path)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(OPENED):
            with Inspector.open(path, threads=1, backend=backend) as inspector:
                assert isinstance(inspector.spec, Manifest)
                half = float(inspector.spec.model_id.removeprefix("half-"))
                expected = (np.float32(128 / 255) - half) ** 2
                assert inspector.inspect(grey(), colour="rgb").score == pytest.approx(expected, abs=1e-4)
    finally:
        stop.set()
        thread.join()
