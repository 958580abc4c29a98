"""Compiles the kernels that prepare frames for this processor, or another one.

    python -m ast_edge.cuda.host_build [--compiler aarch64-linux-gnu-g++] [-o FILE]

By default the library goes beside this file, where `ast_edge.cuda.host` looks for it. It belongs to no
version of Python: it is called with ctypes. `AST_EDGE_KERNELS=1 pip wheel .` makes a wheel that holds it (see
hatch_build.py). Needs a C++17 compiler; imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from ast_edge.cuda.sources import HOST_OPTIONS, HOST_SOURCE, LIBRARY, host_sha256

_CLONES = "-DAST_EDGE_CLONES"  # of the kernels for AVX2, where GCC and the processor have that
_SECONDS = 300


class BuildError(Exception):
    """The compiler is missing or refuses the kernels."""


def machine_of(compiler: str) -> str:
    """The processor that a compiler compiles for, as in the name of a wheel: x86_64, aarch64."""
    return _run([compiler, "-dumpmachine"]).partition("-")[0]


def build(target: Path = LIBRARY, compiler: str = "g++") -> Path:
    """Compile the library to `target`, which is replaced only if that succeeds. Raises BuildError."""
    command = [compiler, *HOST_OPTIONS, f'-DAST_EDGE_KERNELS_SHA256="{host_sha256()}"']
    if machine_of(compiler) == "x86_64" and "clang" not in _run([compiler, "--version"]):
        command.append(_CLONES)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        _run([*command, str(HOST_SOURCE), "-o", str(made)])
        made.replace(target)
    return target


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (a compiler on our own source)
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BuildError(f"{command[0]} cannot be run ({exc}); install a C++ compiler, such as g++.") from exc
    if done.returncode:
        raise BuildError(f"{command[0]} fails: {' '.join(done.stderr.split())[-500:]}.")
    return done.stdout


def main() -> int:
    """Compile, and print the path of the library."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--compiler", default="g++", help="C++ compiler [g++]")
    parser.add_argument(
        "-o", "--output", type=Path, default=LIBRARY, help="library [beside the package's sources]"
    )
    options = parser.parse_args()
    try:
        made = build(options.output, options.compiler)
    except (BuildError, OSError) as exc:
        sys.stderr.write(f"host_build: error: {exc}\n")
        return 1
    sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
