"""The GPU of this machine, and engines built on it.

Without a GPU every test here skips and says why. With AST_EDGE_STANDIN=1 they run on stand-ins instead, fewer
times: that shows that the tests themselves work, and proves nothing about a GPU. $AST_EDGE_MODELS may name a
folder with exported models (their references beside them), which are then proven too. The
stand-ins are the software driver, which the process must have (tests/standin/software_gpu.py), and one for
TensorRT.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ast_edge.backends.engine_build import Options, build_engine
from ast_edge.cuda.device import missing_for_tensorrt
from ast_edge.model.manifest import Mode, Precision
from tests.standin.install import standins
from tests.tiny import write_tiny_model

REHEARSAL = os.environ.get("AST_EDGE_STANDIN") == "1"
MODELS = Path(os.environ.get("AST_EDGE_MODELS") or "/nonexistent")
Build = Callable[[Mode, Precision], Path]


def exported() -> list[Path]:
    """FP32 models of the folder $AST_EDGE_MODELS."""
    return sorted(path for path in MODELS.glob("*.onnx") if not path.stem.endswith((".fp16", ".int8")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", autouse=True)
def gpu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if not MODELS.is_dir():  # a whole round keeps its timing cache for the builds to come
            patch.setenv("AST_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        if REHEARSAL:
            with standins(request.getfixturevalue("kernel_library")):
                yield
        elif missing := missing_for_tensorrt():
            pytest.skip(f"needs a GPU with TensorRT: {' and '.join(missing)}")
        else:
            yield


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Engines of the tiny models, each built once."""
    built: dict[tuple[Mode, Precision], Path] = {}

    def make(mode: Mode, precision: Precision = "fp32") -> Path:
        if (mode, precision) not in built:
            model = write_tiny_model(tmp_path_factory.mktemp(f"{mode}-{precision}"), mode, batch=-1)
            built[mode, precision] = build_engine(model, None, Options(precision=precision)).path
        return built[mode, precision]

    return make
