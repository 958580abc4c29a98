"""A mask in the exported graph: no engine sees what lies outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ast_edge.backends import BackendName
from ast_edge.frames.reading import read_image
from ast_edge.model.onnx_file import read_model_file
from ast_edge.train.evaluate import open_model
from ast_edge.train.run import Run
from tests.small import disturbed

pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")


def test_the_manifest_has_the_mask_of_the_run(masked_run: Path, masked_model: Path) -> None:
    manifest = read_model_file(masked_model).manifest
    assert manifest.preprocessing == Run(masked_run).spec().preprocessing
    assert manifest.preprocessing.roi is not None


@pytest.mark.parametrize("precision", ["", ".fp16"])
@pytest.mark.parametrize("engine", ["pytorch", "onnxruntime", "openvino"])
def test_pixels_outside_change_neither_score_nor_map_by_a_bit(
    masked_run: Path, masked_model: Path, product: Path, engine: str, precision: str
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path = masked_run if engine == "pytorch" else masked_model.with_suffix(f"{precision}.onnx")
    backend: BackendName | None = None if engine == "pytorch" else engine  # type: ignore[assignment]
    with open_model(path, backend=backend, threads=None if engine == "pytorch" else 1) as inspector:
        for number, file in enumerate(sorted(product.glob("test/*/rgb/*.png"))):
            picture = read_image(file)
            expected = inspector.inspect(picture, colour="rgb")
            found = inspector.inspect(disturbed(picture, number), colour="rgb")
            assert (found.score, found.levels) == (expected.score, expected.levels)
            assert found.verdict == expected.verdict != "fault"
            np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
            # Inside the same noise does change them.
            picture[20:30, 25:35] = disturbed(picture, number)[:10, :10]
            assert inspector.inspect(picture, colour="rgb").score != expected.score
