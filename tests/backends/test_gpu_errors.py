"""Errors of the GPU, on the software driver: the first one is reported, rules are kept, all memory is freed.

`standins` checks for broken rules and for leaks at the end of each test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_edge.backends.engine_build import Options, build_engine
from ast_edge.cuda.plan import plan_inputs
from ast_edge.errors import BackendError
from ast_edge.inspector import Inspector
from tests.standin import software_driver
from tests.standin.install import standins
from tests.standin.trt_behaviour import Behaviour
from tests.tiny import grey, part, white, write_tiny_model

pytestmark = pytest.mark.driver
FP32 = Options(precision="fp32")
WORDS = "Error Code 1: Cask"


@pytest.fixture(params=[False, True], ids=["free-at-once", "free-waits"])
def machine(request: pytest.FixtureRequest, kernel_library: Path, own_cache: None) -> Iterator[Behaviour]:
    """A machine whose driver waits for the streams when memory is freed, and one whose driver does not."""
    with standins(kernel_library) as behaviour:
        software_driver.free_waits(request.param)
        yield behaviour


@pytest.fixture
def engine(machine: Behaviour, tmp_path: Path) -> Path:
    return build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32).path


@pytest.mark.parametrize("refused", [1, 2], ids=["before-the-capture", "in-the-capture"])
def test_tensorrt_refuses_the_first_part_of_a_layout(machine: Behaviour, engine: Path, refused: int) -> None:
    with Inspector.open(engine) as inspector:
        machine.executions, machine.refuse_executions = 0, {refused}
        with pytest.raises(BackendError, match=f"TensorRT refused the execution: {WORDS}"):
            inspector.inspect(grey(), colour="rgb")
        assert "graphs" not in software_driver.alive()
        assert software_driver.wrongs() == []
        assert inspector.inspect(grey(), colour="rgb").verdict == "pass"
        assert inspector.inspect(white(), colour="rgb").verdict == "reject"


def test_tensorrt_takes_memory_in_the_capture(machine: Behaviour, engine: Path) -> None:
    with Inspector.open(engine) as inspector:
        machine.executions, machine.take_memory_at = 0, 2
        with pytest.raises(BackendError, match="TensorRT refused the execution: cuMemAlloc was refused"):
            inspector.inspect(grey(), colour="rgb")
        assert software_driver.wrongs() == ["cuMemAlloc_v2 while a stream is captured"]
        assert "graphs" not in software_driver.alive()
        assert inspector.inspect(grey(), colour="rgb").verdict == "pass"


def test_a_kernel_that_writes_where_it_may_not(
    machine: Behaviour, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wild(*arguments: Any) -> Any:
        plan = plan_inputs(*arguments)
        first = plan.launches[0]
        launch = replace(first, arguments=(np.uintp(4096), *first.arguments[1:]))
        return replace(plan, launches=(launch, *plan.launches[1:]))

    def inspect() -> None:
        with Inspector.open(engine) as inspector:
            inspector.inspect(grey(), colour="rgb")
            monkeypatch.setattr("ast_edge.cuda.slots.plan_inputs", wild)
            inspector.inspect(grey(height=44), colour="rgb")

    with pytest.raises(BackendError, match="CUDA_ERROR_ILLEGAL_ADDRESS") as caught:
        inspect()
    # Where it was found, not "freeing a slot", which failed next.
    assert "the first part of its size" in str(caught.value)
    assert any("ast_edge" in wrong for wrong in software_driver.wrongs())
    assert software_driver.alive() == {}  # the context went, and all that was in it


def test_after_a_fault_closing_says_so_where_nothing_else_did(machine: Behaviour, engine: Path) -> None:
    inspector = Inspector.open(engine)
    software_driver.library().standin_fault()
    with pytest.raises(BackendError, match="freeing a slot"):
        inspector.close()
    inspector.close()
    assert software_driver.alive() == {}


def test_the_primary_context_is_released(machine: Behaviour, engine: Path) -> None:
    assert software_driver.alive() == {}
    for _ in range(3):
        with Inspector.open(engine):
            assert software_driver.alive()["contexts"] == 2
        assert software_driver.alive() == {}


def test_a_driver_that_tensorrt_refuses(machine: Behaviour, engine: Path, tmp_path: Path) -> None:
    machine.refuse_driver = "CUDA initialization failure with error: 35. The driver is too old"
    with pytest.raises(BackendError, match="did not make the builder: CUDA initialization failure"):
        build_engine(engine.with_suffix(".onnx"), None, FP32)
    with pytest.raises(BackendError, match="did not make the builder: CUDA initialization failure"):
        Inspector.open(engine)


def test_a_checkout_that_is_not_installed_loses_no_build(
    machine: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    monkeypatch.setattr("ast_edge.backends.engine_build.version", version, raising=False)
    assert build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32).info.ast_edge


def test_a_part_in_mapped_memory(kernel_library: Path, own_cache: None, tmp_path: Path) -> None:
    from tests.standin.install import GPU  # noqa: PLC0415

    with standins(kernel_library, gpu=replace(GPU, name="Orin", integrated=True)) as machine:
        engine = build_engine(write_tiny_model(tmp_path, "rgbd"), None, FP32).path
        with Inspector.open(engine) as inspector:
            machine.executions, machine.refuse_executions = 0, {1}
            with pytest.raises(BackendError, match=WORDS):
                inspector.inspect(**part("rgbd", good=True))
            assert inspector.inspect(**part("rgbd", good=False)).verdict == "reject"
