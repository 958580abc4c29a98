"""SIGTERM ends a station in time in spite of blocked pipes, servers and look-ups: real processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.line.process import RUN, StationProcess
from tests.line.web.client import web
from tests.paths import ROOT
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TIMER = '[trigger]\nkind = "timer"\nper_s = 50\n[timing]\ndeadline_ms = 10000\ndrain_s = 2\n'
# Beyond twice drain_s: a second for what hangs, one for the log, the interpreter's own end, a loaded machine.
MOST_S = 2 * 2 + 10


def test_a_log_and_an_output_that_are_not_read_do_not_keep_it_from_ending(
    tmp_path: Path, tiny_rgb: Path
) -> None:
    """stdout and stderr are one pipe, as under `ast-edge run 2>&1 | less`, and it is full."""
    station = StationProcess(tmp_path, tiny_rgb, TIMER)
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "run", str(station.file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writing,
        stderr=writing,
    )
    station.process = process
    os.close(writing)
    try:
        wait_for(lambda: int(station.status().get("triggers", 0)) > 1000, 120)  # 64 KB are full long since
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - began < MOST_S
    finally:
        process.kill()
        process.wait()
        os.close(reading)


@contextmanager
def dead_resolver() -> Iterator[str]:
    """A name server that hears every question and answers none; its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.0.0.53", 53))
        except OSError as exc:
            pytest.skip(f"port 53 of 127.0.0.53 cannot be had ({exc.strerror}); it needs root")
        server.settimeout(0.2)
        asked, over = list[bytes](), threading.Event()

        def hear() -> None:
            while not over.is_set():
                try:
                    asked.append(server.recv(1000))
                except TimeoutError:  # noqa: PERF203 (it waits a fifth of a second anyway)
                    continue

        thread = threading.Thread(target=hear)
        thread.start()
        try:
            yield "127.0.0.53"
        finally:
            over.set()
            thread.join()
        assert asked, "no name was looked up: the test shows nothing"


def test_a_dead_name_server_does_not_keep_it_from_ending(tmp_path: Path, tiny_rgb: Path) -> None:
    """Trigger and outputs whose names cannot be resolved hang in the C library; the others deliver."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed (Debian, Ubuntu: apt install util-linux)")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:30 attempts:1\n")
    hosts = [f'host = "nowhere{number}.example"\n' for number in range(3)]
    with web() as server, dead_resolver():
        toml = (
            f'[trigger]\nkind = "mqtt"\n{hosts[0]}topic = "t"\nmax_age_ms = 100\n[timing]\ndrain_s = 2\n'
            f'[[output]]\nkind = "mqtt"\n{hosts[1]}'
            f'[[output]]\nkind = "modbus"\n{hosts[2]}registers = 0\n'
            f'[[output]]\nkind = "webhook"\nurl = "http://127.0.0.1:{server.port}/"\nspool = "spool"\n'
            '[archive]\nfolder = "archive"\nmin_free_gb = 0\n'
        )
        station = StationProcess(tmp_path / "station", tiny_rgb, toml)
        mount = f'mount --bind {tmp_path / "resolv.conf"} /etc/resolv.conf && exec "$@"'
        command = [unshare, "-rm", "sh", "-c", mount, "sh", sys.executable, "-c", RUN]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "run", str(station.file)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        station.process = process
        try:
            wait_for(lambda: station.status().get("state") == "running", 60)
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert process.wait(60) == 0
            assert time.monotonic() - began < MOST_S
        finally:
            process.kill()
            process.wait()


def test_outputs_are_closed_at_once_and_not_one_after_the_other(tmp_path: Path, tiny_rgb: Path) -> None:
    """Eight web servers that never answer: together they take as long as one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        outputs = "".join(
            f'[[output]]\nkind = "webhook"\nname = "w{n}"\nurl = "{url}"\nspool = "s{n}"\ntimeout_s = 60\n'
            for n in range(8)
        )
        bad = TIMER.replace("deadline_ms = 10000", "deadline_ms = 0.01")
        with StationProcess(tmp_path / "station", tiny_rgb, f"{bad}{outputs}") as station:
            wait_for(lambda: int(station.status().get("triggers", 0)) > 50, 60)
            assert station.process is not None
            station.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert station.process.wait(60) == 0
            assert time.monotonic() - began < MOST_S
