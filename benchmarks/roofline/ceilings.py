"""The ceilings of this machine, measured: bytes copied and multiply-accumulates a second, and usual shares.

A copy counts its reads and its writes. Of the CPU both the copy from memory and that within the caches are
measured: a floor must take the faster one, as a small network's tensors stay in the caches. The highest rate
is the best of a matrix product and of convolutions in ONNX Runtime, which is the engine here; it computes
convolutions directly. The best of many rounds counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.roofline.bounds import Ceilings, Habits

# kind of layer, channels in, channels out, kernel, pixels a side, groups: of the sizes that our networks have
CONVOLUTIONS = (
    ("dense", 256, 256, 3, 32, 1),
    ("dense", 64, 64, 3, 32, 1),
    ("pointwise", 192, 64, 1, 32, 1),
    ("pointwise", 32, 192, 1, 64, 1),
    ("depthwise", 192, 192, 3, 32, 192),
    ("depthwise", 144, 144, 5, 64, 144),
)
_CHAIN = 64  # nodes of the graph that shows what starting one takes


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, bytes copied from memory and within the caches, size of a matrix."""

    rounds: int = 40
    memory_bytes: int = 256 << 20
    cache_bytes: int = 192 << 10
    matrix: int = 1024


DRY = Effort(rounds=2, memory_bytes=1 << 20, cache_bytes=64 << 10, matrix=64)


@dataclass(frozen=True)
class Measured:
    """What a machine showed: ceilings for the floor, habits for the estimate above it, every single rate."""

    ceilings: Ceilings
    habits: Habits
    details: dict[str, float]


def cpu(threads: int, effort: Effort) -> Measured:
    """The CPU with so many threads, in FP32."""
    memory = _copy_rate(threads, effort.memory_bytes, effort)
    cache = _copy_rate(threads, effort.cache_bytes, effort)
    rates = {f"matmul {effort.matrix}": ("matmul", _matmul_rate(threads, effort))}
    for kind, *sizes in CONVOLUTIONS:
        rates[f"{kind} {' '.join(map(str, sizes))}"] = (kind, _conv_rate(sizes, threads, effort))
    best = max(rate for _, rate in rates.values())
    shares = {kind: min(r for k, r in rates.values() if k == kind) / best for kind, _ in rates.values()}
    node_s = _node_seconds(threads, effort)
    details = {"memory_bytes_per_s": memory, "cache_bytes_per_s": cache, "node_s": node_s}
    return Measured(
        Ceilings(max(memory, cache), {"fp32": best}),
        Habits(bytes_per_s=memory, share=min(shares.values()), node_s=node_s, shares=shares),
        {**details, **{f"{name} macs_per_s": rate for name, (_, rate) in rates.items()}},
    )


def gpu(effort: Effort) -> Ceilings | str:
    """The first CUDA GPU's ceilings through torch, or why there are none."""
    try:
        import torch  # noqa: PLC0415 (the CPU's ceilings need none)
    except ImportError:
        return "PyTorch is not installed"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA GPU"
    return torch_ceilings("cuda", effort)


def torch_ceilings(device: str, effort: Effort) -> Ceilings:
    """Copy and matrix products of torch on a device; INT8 on a GPU alone."""
    import torch  # noqa: PLC0415

    on_gpu = device == "cuda"
    count, size = effort.memory_bytes, effort.matrix
    if on_gpu:
        count, size = 4 * count, 8 * size

    def seconds(work: Callable[[], object]) -> float:
        def done() -> None:
            work()
            if on_gpu:
                torch.cuda.synchronize()

        return best_seconds(done, effort.rounds)

    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.zeros(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copying = seconds(lambda: target.copy_(source))
    rates = {}
    for name, kind in (("fp32", torch.float32), ("fp16", torch.float16)):
        left, right = (torch.ones(size, size, device=device).to(kind) for _ in range(2))
        rates[name] = size**3 / seconds(partial(torch.matmul, left, right))
    if on_gpu:
        left, right = (torch.ones(size, size, device=device, dtype=torch.int8) for _ in range(2))
        rates["int8"] = size**3 / seconds(partial(torch._int_mm, left, right))
    return Ceilings(2 * count / copying, rates)


def best_seconds(work: Callable[[], object], rounds: int) -> float:
    """The shortest of so many rounds, after one that does not count."""
    work()
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter_ns()
        work()
        best = min(best, (time.perf_counter_ns() - started) / 1e9)
    return best


def session(model: bytes | str, threads: int) -> Any:
    """An ONNX Runtime session on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _copy_rate(threads: int, count: int, effort: Effort) -> float:
    """Bytes read and written per second by so many threads, each with `count` bytes of its own."""
    repeats = max(1, effort.memory_bytes // count // 4)
    pairs = [(np.ones(count, np.uint8), np.ones(count, np.uint8)) for _ in range(threads)]

    def copy(source: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> None:
        for _ in range(repeats):
            np.copyto(target, source)  # without the interpreter's lock

    def work() -> None:
        others = [threading.Thread(target=copy, args=pair) for pair in pairs[1:]]
        for thread in others:
            thread.start()
        copy(*pairs[0])
        for thread in others:
            thread.join()

    return 2 * count * repeats * threads / best_seconds(work, effort.rounds)


def _matmul_rate(threads: int, effort: Effort) -> float:
    size = effort.matrix
    values = np.ones((size, size), np.float32)
    weights = numpy_helper.from_array(values, "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return size**3 / _graph_seconds([node], [size, size], [weights], threads, effort)


def _conv_rate(sizes: list[int], threads: int, effort: Effort) -> float:
    channels, made, kernel, side, groups = sizes
    weights = numpy_helper.from_array(np.ones((made, channels // groups, kernel, kernel), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[kernel // 2] * 4, group=groups)
    macs = side**2 * made * channels // groups * kernel**2
    return macs / _graph_seconds([node], [1, channels, side, side], [weights], threads, effort)


def _node_seconds(threads: int, effort: Effort) -> float:
    """What a node costs that has next to nothing to do, in a row of them."""
    # Sigmoid and Tanh take turns: no optimiser joins them.
    nodes = [
        helper.make_node(
            ("Sigmoid", "Tanh")[i % 2], [f"t{i}" if i else "x"], [f"t{i + 1}" if i + 1 < _CHAIN else "y"]
        )
        for i in range(_CHAIN)
    ]
    return _graph_seconds(nodes, [1, 8], [], threads, effort) / _CHAIN


def _graph_seconds(
    nodes: list[Any], shape: list[int], weights: list[TensorProto], threads: int, effort: Effort
) -> float:
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    probe = session(model.SerializeToString(), threads)
    inputs = {"x": np.ones(shape, np.float32)}
    return best_seconds(lambda: probe.run(None, inputs), effort.rounds)
