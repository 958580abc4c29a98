"""Locks that one holder has at a time, and errors that name the file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ast_edge.errors import sentence
from ast_edge.files import atomic_path, claim, named_errors, write_bytes

HOLD = "import sys; from pathlib import Path; from ast_edge.files import claim\n"
HOLD += "held = claim(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


def test_a_claim_has_one_holder_in_all_processes(tmp_path: Path) -> None:
    lock = tmp_path / "made" / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError) as caught:
            claim(lock)
        assert sentence(caught.value).startswith(f"{lock}: ")
        other.kill()
    with claim(lock), pytest.raises(BlockingIOError):
        claim(lock)
    claim(lock).close()


def test_a_claim_may_wait_for_its_turn(tmp_path: Path) -> None:
    lock, got = tmp_path / ".lock", threading.Event()
    held = claim(lock)

    def wait() -> None:
        with claim(lock, wait=True):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.2)
    held.close()
    assert got.wait(20)
    thread.join()


def test_a_folder_that_cannot_be_claimed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file") as caught:
        claim(tmp_path / "file" / ".lock")
    assert str(tmp_path / "file") in sentence(caught.value)


def test_a_disk_that_takes_no_more_names_the_file(tmp_path: Path) -> None:
    """The kernel's error names no file: a limit of the size stands for the full disk."""
    target = tmp_path / "model.onnx"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_bytes(target, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sentence(caught.value) == f"{target}: File too large"
    assert not list(tmp_path.iterdir())


def test_an_error_that_names_its_file_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="other") as caught, named_errors(tmp_path / "this"):
        os.stat(tmp_path / "other")  # noqa: PTH116
    assert caught.value.filename == str(tmp_path / "other")
    with pytest.raises(ValueError, match="odd"), atomic_path(tmp_path / "this"):
        raise ValueError("odd")
