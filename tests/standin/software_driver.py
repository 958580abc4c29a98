"""The tests' interface to the software driver, which is this process's libcuda.so.1."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache

MEMORY = 8 << 30
_KINDS = ("device", "pinned", "streams", "events", "graphs", "modules")
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_calls: list[object] = []  # a graph may launch them again


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The driver. Raises RuntimeError where this process has another one, or none."""
    try:
        found = ctypes.CDLL("libcuda.so.1")
        found.standin_launches.restype = ctypes.c_size_t
    except (OSError, AttributeError) as exc:
        raise RuntimeError("this process has no software driver; see tests/standin/software_gpu.py") from exc
    found.standin_reset.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_size_t)
    found.standin_refuse_from.argtypes = (ctypes.c_size_t,)
    found.cuLaunchHostFunc.argtypes = (ctypes.c_void_p, _HOST_FUNCTION, ctypes.c_void_p)
    return found


def reset(name: str = "stand-in", *, integrated: bool = False, capability: str = "8.7") -> None:
    """A GPU of this compute capability, no error on it and nothing reported."""
    library().standin_reset(name.encode(), int(capability.replace(".", "")), int(integrated), MEMORY)


def wrongs() -> list[str]:
    """The rules of CUDA that were broken; forgets them."""
    text = ctypes.create_string_buffer(1 << 16)
    library().standin_wrongs(text, ctypes.c_size_t(len(text)))
    return text.value.decode().splitlines()


def alive() -> dict[str, int]:
    """What was made and not given back, and how often the primary context is retained."""
    counts = {name: library().standin_alive(kind) for kind, name in enumerate(_KINDS)}
    counts["contexts"] = library().standin_retained()
    return {name: count for name, count in counts.items() if count}


def refuse_from(nbytes: int | None) -> None:
    """Refuse device memory of this size or more; None allows all again."""
    library().standin_refuse_from((1 << 62) if nbytes is None else nbytes)


def free_waits(yes: bool) -> None:
    """Whether freeing memory waits for the streams."""
    library().standin_free_waits(int(yes))


def launches() -> int:
    """How many kernels ran."""
    return int(library().standin_launches())


def has_context() -> bool:
    """Whether a context is current in this thread."""
    context = ctypes.c_void_p()
    library().cuCtxGetCurrent(ctypes.byref(context))
    return bool(context.value)


def put(stream: int, work: Callable[[], None]) -> bool:
    """Put `work` on a stream, as a library would its kernels; False when the driver refuses."""
    function = _HOST_FUNCTION(lambda _: work())
    _calls.append(function)
    return int(library().cuLaunchHostFunc(ctypes.c_void_p(stream), function, None)) == 0


def take_memory(nbytes: int) -> bool:
    """Allocate on the device and free again, which CUDA forbids in a capture; False when refused."""
    address = ctypes.c_uint64()
    if library().cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(nbytes)):
        return False
    return int(library().cuMemFree_v2(address)) == 0
