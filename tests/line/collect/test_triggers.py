"""Collecting as a process on real triggers: a PLC's counter, HTTP, and a GigE camera."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ast_edge.cameras.gi_bindings import load
from ast_edge.errors import CameraError
from benchmarks.line.camera import FakeCamera
from benchmarks.line.plc import Plc
from tests.line.collect.bench import check_whole, line, lines_of, temporary_files
from tests.line.process import RUN
from tests.line.service.test_condition import output
from tests.line.service.test_condition import trigger as counter
from tests.paths import ROOT
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.slow

CAMERA = "synthetic://?size=64&trigger=software&defects=0"


class Process:
    """`ast-edge collect` with its output."""

    def __init__(self, toml: Path, parts: Path, *options: str) -> None:
        command = [sys.executable, "-c", RUN, "collect", str(toml), "-o", str(parts), *options]
        self.parts = parts
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def count(self) -> int:
        """Parts that have their line."""
        record = self.parts / "parts.jsonl"
        return record.read_bytes().count(b"\n") if record.exists() else 0

    def end(self, within_s: float = 60.0) -> tuple[int, str, str]:
        """Return exit code, output and messages."""
        out, err = self.process.communicate(timeout=within_s)
        return self.process.returncode, out, err


@contextmanager
def collecting(toml: Path, parts: Path, *options: str) -> Iterator[Process]:
    made = Process(toml, parts, "--min-free-gb", "0", *options)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.communicate()


def test_a_plc_counts_and_nothing_is_written_to_it(tmp_path: Path) -> None:
    """Its counter triggers; parts between two polls are missed; the block of the output stays untouched."""
    (tmp_path / "plc").mkdir()
    with Plc(tmp_path / "plc") as plc:
        toml = line(tmp_path / "line", CAMERA, counter(plc.port, judged=True) + output(plc.port))
        plc.trigger(5)  # before it starts: of no station, and of no interest here
        with collecting(toml, tmp_path / "parts") as made:
            wait_for(lambda: "is connected" in _said(made), 60)
            for part in range(1, 6):
                plc.trigger()
                wait_for(lambda: made.count == part)  # noqa: B023 (called at once)
            plc.trigger(3)
            wait_for(lambda: made.count == 6)
            made.process.send_signal(signal.SIGTERM)
            code, out, _ = made.end()
        assert plc.results() == []
    assert code == 0
    assert "6 good parts in" in out
    assert "missed     2 parts: the trigger was lost in transit" in out
    parts = check_whole(tmp_path / "parts")
    assert [part.trigger.external_id for part in parts] == ["6", "7", "8", "9", "10", "13"]
    assert {part.trigger.source for part in parts} == {"modbus"}


_heard: dict[int, str] = {}


def _said(made: Process) -> str:
    """What the process said so far, read without waiting for its end."""
    stream = made.process.stderr
    assert stream is not None
    _heard[made.process.pid] = _heard.get(made.process.pid, "") + stream.readline()
    return _heard[made.process.pid]


def test_triggers_by_http(tmp_path: Path) -> None:
    port, token = free_port(), "0123456789abcdef"
    (tmp_path / "token").write_text(token)
    more = (
        f'[trigger]\nkind = "software"\nmax_age_ms = 5000\n[timing]\ndeadline_ms = 20000\n'
        f'picture_within_ms = 20000\n[web]\nport = {port}\ntoken = {{ file = "{tmp_path / "token"}" }}\n'
    )
    toml = line(tmp_path / "line", CAMERA, more)

    def ask(path: str, content: object = None) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            body = None if content is None else json.dumps(content)
            connection.request("GET" if content is None else "POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:  # it does not listen yet
            return 0, ""
        finally:
            connection.close()

    with collecting(toml, tmp_path / "parts", "--parts", "3") as made:
        wait_for(lambda: ask("/readyz")[0] == 200, 60)
        assert ask("/trigger", {"id": "old", "sent_ms": time.time() * 1e3 - 60_000})[0] != 200
        for number in range(1, 4):
            code, body = ask(
                "/trigger", {"id": f"E{number}", "encoder": number, "sent_ms": time.time() * 1e3}
            )
            assert code in (200, 202), body
            wait_for(lambda: made.count == number)  # noqa: B023 (called at once)
            if number == 1:
                wait_for(lambda: json.loads(ask("/status")[1])["collected"] == 1)
                assert ask("/recipe", {"name": "a", "operator": "Ann"})[0] not in (0, 200, 202)
        code, out, err = made.end()
    assert code == 0, err
    assert "missed     1 part: " in out
    parts = check_whole(tmp_path / "parts")
    assert [(part.trigger.external_id, part.encoder) for part in parts] == [("E1", 1), ("E2", 2), ("E3", 3)]


def test_a_gige_camera(tmp_path: Path) -> None:
    try:
        load("Aravis", "0.8")
    except CameraError as exc:
        pytest.skip(str(exc))
    timer = '[trigger]\nkind = "timer"\nper_s = 2\n[timing]\ndeadline_ms = 20000\npicture_within_ms = 20000\n'
    uri = "gige://127.0.0.1?trigger=software&exposure_us=9000&gain=3&packet_size=9000&pixel_format=BayerRG8"
    with FakeCamera():
        toml = line(tmp_path / "line", uri, timer)
        with collecting(toml, tmp_path / "parts", "--parts", "4") as made:
            code, _, err = made.end(120)
    assert code == 0, err
    parts = check_whole(tmp_path / "parts")
    assert len(parts) == 4
    for part in parts:
        assert (part.camera.colour, part.camera.width, part.camera.height) == ("bayer_rggb", 512, 512)
        settings = part.camera.settings
        assert settings["exposure_us"] == pytest.approx(9000, rel=0.01)
        assert settings["gain"] == pytest.approx(3, rel=0.01)
        assert str(settings.get("exposure_auto", "off")).casefold() == "off"
        assert part.camera.device_ns is not None


def test_killed_again_and_again(tmp_path: Path) -> None:
    """kill -9 at any moment: what has its line is whole, and the same command goes on."""
    toml = line(
        tmp_path / "line",
        "synthetic://?size=64&trigger=software",
        '[trigger]\nkind = "timer"\nper_s = 100\n[timing]\ndeadline_ms = 20000\npicture_within_ms = 20000\n',
    )
    parts, before = tmp_path / "parts", 0
    for kill in range(5):
        with collecting(toml, parts, "--parts", "1000") as made:
            wait_for(lambda: made.count > before, 60)  # noqa: B023 (called at once)
            time.sleep(0.05 + 0.07 * kill)
            made.process.kill()
            made.process.communicate()
        raw = (parts / "parts.jsonl").read_bytes()
        lines = raw[: raw.rfind(b"\n") + 1].count(b"\n")
        assert lines > before
        before = lines
        pictures = {path.stem for path in parts.glob("train/good/rgb/*.png")}
        assert lines <= len(pictures) <= lines + kill + 1, "at most one without a line for each kill"
        for path in parts.glob("train/good/rgb/*.png"):
            assert (parts / "train/good/xyz" / f"{path.stem}.tiff").is_file()
    with collecting(toml, parts, "--parts", str(before + 5)) as made:
        code, out, err = made.end()
    assert code == 0, err
    assert f"{before + 5} good parts in" in out
    found = check_whole(parts)
    assert len(found) == len(lines_of(parts)) == before + 5
    assert not temporary_files(parts)
    assert len({part.trigger.run for part in found}) == 6
