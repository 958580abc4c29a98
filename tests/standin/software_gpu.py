"""The software driver, built once and kept in the user's cache.

    python -m tests.standin.software_gpu        builds it and prints the folder

It is compiled against NVIDIA's cuda.h, which comes from a package on PyPI. A process gets the driver by
`environment()`; it must be a process of its own, since a driver is chosen when a program starts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ast_edge.files import cache_root
from tests.paths import ROOT

SOURCES = ROOT / "tests" / "standin" / "driver"
_PACKAGE = "nvidia-cuda-runtime"
_FETCHED = f"{_PACKAGE}==13.0.96"
_FLAGS = (
    "-std=c++17",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-Wl,-soname,libcuda.so.1",
)
_SECONDS = 900


def environment() -> dict[str, str]:
    """This process's environment, with the software driver as libcuda.so.1."""
    return {**os.environ, "LD_LIBRARY_PATH": str(driver())}


def why_not() -> str | None:
    """Why it cannot be built here, in words, or None."""
    return None if shutil.which("g++") else "g++ is not installed"


def headers() -> Path:
    """The folder with cuda.h: of the package installed here, else fetched."""
    with suppress(PackageNotFoundError):
        for file in distribution(_PACKAGE).files or ():
            if file.name == "cuda.h":
                return Path(str(file.locate())).parent
    return _kept("headers", _FETCHED, _fetch_headers) / "include"


def driver() -> Path:
    """The folder with libcuda.so.1, and libcuda.so to link against."""
    source = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))
    return _kept("driver", source + "".join((_FETCHED, *_FLAGS)).encode(), _build_driver)


def _kept(name: str, made_of: str | bytes, make: Callable[[Path], None]) -> Path:
    """What `make` writes into a folder, kept by the digest of what it is made of."""
    text = made_of.encode() if isinstance(made_of, str) else made_of
    root = cache_root() / "software-gpu"
    root.mkdir(parents=True, exist_ok=True)
    target = root / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}"
    with _locked(root / f"{name}.lock"):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=root) as folder:
                made = Path(folder) / "made"
                made.mkdir()
                make(made)
                made.rename(target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_headers(target: Path) -> None:
    wheels = target / "wheels"
    _run([sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--target", str(wheels), _FETCHED])
    shutil.copytree(next(wheels.rglob("cuda.h")).parent, target / "include")
    shutil.rmtree(wheels)


def _build_driver(target: Path) -> None:
    sources = [str(path) for path in sorted(SOURCES.glob("*.cpp"))]
    library = target / "libcuda.so.1"
    _run(["g++", *_FLAGS, f"-I{headers()}", *sources, "-o", str(library), "-ldl", "-pthread"])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(command[:4])} ... failed: {said}")


if __name__ == "__main__":
    print(driver())
