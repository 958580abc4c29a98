"""`ast-edge run` as a process: signals, systemd, the page, and the state after a kill."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ast_edge.cli import main
from ast_edge.line.archive.reading import ArchiveReader, Query
from ast_edge.line.audit.chain import verify
from tests.paths import ROOT
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.slow

TOKEN = "of one test only"  # noqa: S105 (of a station that lives for a test)


class Line:
    """A line.toml in a folder of its own, and the process that runs it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.file = folder / "line.toml"
        self.file.write_text(
            f"""
[station]
name = "bench"
[camera]
uri = "synthetic://?size=64&trigger=software"
[recipes]
first = "first"
models = {{ first = "{model}", second = "{model}", damaged = "{folder / "damaged.onnx"}" }}
threads = 1
[trigger]
kind = "timer"
per_s = 20
[timing]
deadline_ms = 5000
[archive]
folder = "archive"
every_nth_pass = 5
min_free_gb = 0
[audit]
file = "audit.jsonl"
[web]
port = {self.port}
token = {{ env = "LINE_TOKEN" }}
[drift]
"""
        )
        (folder / "damaged.onnx").write_bytes(b"no model")
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, notify: str = "") -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LINE_TOKEN": TOKEN, "NOTIFY_SOCKET": notify}
        if notify:
            environment["WATCHDOG_USEC"] = "2000000"
        command = [sys.executable, "-c", "import sys; from ast_edge.cli import main; sys.exit(main())"]
        self.close()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "run", str(self.file), *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            with self.process:
                pass

    def ask(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            found: dict[str, object] = json.loads(answer.read())
            return answer.status, found
        finally:
            connection.close()

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def triggers(self) -> int:
        return int(str(self.ask("GET", "/status")[1]["triggers"]))

    def rows(self) -> list[str]:
        with ArchiveReader(self.folder / "archive") as archive:
            return [part.verdict for part in archive.oldest_first(Query())]


@contextmanager
def manager(path: Path) -> Iterator[list[bytes]]:
    """A service manager that reads each notification at once, as systemd does; yields the notifications."""
    heard: list[bytes] = []
    done = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(0.1)

        def listen() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    heard.append(listener.recv(4096))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            done.set()
            thread.join()


@pytest.fixture
def line(tmp_path: Path, tiny_rgb: Path) -> Iterator[Line]:
    found = Line(tmp_path, tiny_rgb)
    yield found
    found.close()


def test_a_line_runs_changes_its_recipe_and_stops_in_order(line: Line, tmp_path: Path) -> None:
    with manager(tmp_path / "notify") as heard:
        process = line.start(notify=str(tmp_path / "notify"))
        wait_for(lambda: heard, within_s=60)
        assert heard[0] == b"READY=1"
        wait_for(line.ready, within_s=60)
        wait_for(lambda: any(b"WATCHDOG=1" in message for message in heard))
        wait_for(lambda: line.triggers() > 20, within_s=60)
        assert line.ask("POST", "/recipe", {"name": "damaged", "operator": "Ann"})[0] == 200
        wait_for(lambda: "refused" in json.dumps(line.ask("GET", "/status")[1]["events"]))
        assert line.ask("POST", "/recipe", {"name": "second", "operator": "Ann"})[0] == 200
        wait_for(lambda: line.ask("GET", "/status")[1]["recipe"] == "second", within_s=60)
        assert line.ask("POST", "/rollback", {"operator": "Ann"})[0] == 200
        wait_for(lambda: line.ask("GET", "/status")[1]["recipe"] == "first")
        status, refused = line.ask("POST", "/trigger", {"id": "SN-7"})
        assert (status, "parts come from there" in str(refused["error"])) == (400, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        wait_for(lambda: any(b"STOPPING=1" in message for message in heard))
    assert process.stdout is not None
    reported = process.stdout.read()
    rows = line.rows()
    assert reported.startswith(f"{len(rows)} parts: ")
    assert set(rows) <= {"pass", "reject", "fault"}
    audit = verify(tmp_path / "audit.jsonl")
    assert audit.ok
    kinds = [json.loads(entry)["kind"] for entry in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert kinds[0] == "start"
    assert kinds[-1] == "stop"
    assert kinds.count("operator") == 3
    assert kinds.count("recipe") == 3
    log = (tmp_path / "log").read_text()
    assert " pass score " in log
    assert "Traceback" not in log


def test_the_page_pauses_resumes_acknowledges_and_shows_pictures(line: Line, tmp_path: Path) -> None:
    """The real station: what its page is given, and what is asked of it from there."""
    line.file.write_text(line.file.read_text().replace("per_s = 20", "per_s = 2"))
    process = line.start()
    wait_for(line.ready, within_s=60)

    def board() -> dict[str, Any]:
        return line.ask("GET", "/board")[1]

    wait_for(lambda: (board()["shown"] or {}).get("picture"), within_s=60)
    shown = board()["shown"]
    connection = http.client.HTTPConnection("127.0.0.1", line.port, timeout=20)
    connection.request("GET", f"/picture/{shown['part_id']}?kind=heat")
    answer = connection.getresponse()
    picture = answer.read()
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert picture.startswith(b"\xff\xd8")
    connection.request("GET", "/picture/..%2f..%2fetc%2fpasswd")
    assert connection.getresponse().status == 404
    connection.close()
    assert line.ask("POST", "/pause", {"operator": "Ann"})[0] == 200
    assert line.ask("POST", "/pause", {"operator": "Ann"})[0] == 409
    assert (board()["state"], board()["ready"]) == ("paused", False)
    assert line.ask("GET", "/readyz")[0] == 503
    wait_for(lambda: (board()["shown"] or {}).get("code") == 12)
    assert line.ask("POST", "/resume", {"operator": "Ann"})[0] == 200
    wait_for(line.ready)
    assert board()["unacknowledged"] > 0
    assert line.ask("POST", "/acknowledge", {"operator": "Bo"})[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    entries = [json.loads(entry) for entry in (tmp_path / "audit.jsonl").read_text().splitlines()]
    reported = [entry["details"] for entry in entries if entry["kind"] == "operator"]
    asked = [(details["operator"], details["asked"]) for details in reported]
    assert asked == [("Ann", "pause"), ("Ann", "resume"), ("Bo", "acknowledge")]


def test_a_trigger_over_http_says_when_its_part_was_there(line: Line) -> None:
    text = line.file.read_text()
    line.file.write_text(text.replace('"timer"\nper_s = 20', '"software"\nmax_age_ms = 2000'))
    process = line.start()
    wait_for(line.ready, within_s=60)
    answers = [
        line.ask("POST", "/trigger", {"id": "SN-1", "sent_ms": time.time() * 1e3})[0],
        line.ask("POST", "/trigger", {"id": "SN-2", "sent_ms": time.time() * 1e3 - 3000})[0],
        line.ask("POST", "/trigger", {"id": "SN-3"})[0],
    ]
    wait_for(lambda: line.ask("GET", "/status")[1]["open"] == 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert answers == [200, 409, 409]
    with ArchiveReader(line.folder / "archive") as archive:
        parts = {part.external_id: part for part in archive.oldest_first(Query())}
    assert parts["SN-1"].verdict in ("pass", "reject")
    assert (parts["SN-2"].verdict, parts["SN-3"].verdict) == ("fault", "fault")
    assert "max_age_ms is 2000" in parts["SN-2"].reason
    assert "its age is unknown" in parts["SN-3"].reason


def test_a_line_that_is_killed_leaves_an_archive_that_opens(line: Line) -> None:
    process = line.start()
    wait_for(lambda: line.ready() and line.triggers() > 30, within_s=90)
    seen = line.triggers()
    process.kill()
    process.wait()
    assert len(line.rows()) >= seen - 40, "more than the last second is missing"
    second = line.start("--parts", "10")
    assert second.wait(90) == 0
    assert verify(line.folder / "audit.jsonl").ok
    with ArchiveReader(line.folder / "archive") as archive:
        assert len(list(archive.runs())) == 2


def test_checking_a_line(
    line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINE_TOKEN", TOKEN)
    assert main(["run", "--check", str(line.file)]) == 1
    found = capsys.readouterr().out.splitlines()
    assert found[0].startswith("ok       recipe first: rgb, threshold 0.1, proven on ONNX Runtime")
    assert found[2].startswith("problem  recipe damaged: ")
    (camera,) = (text for text in found if "camera" in text)
    assert camera.startswith("ok       camera synthetic://: 64x64 rgb; ")
    assert found[-1].endswith("1 problems")
    text = line.file.read_text().replace(f', damaged = "{line.folder / "damaged.onnx"}"', "")
    plc = f'[[output]]\nkind = "modbus"\nhost = "127.0.0.1"\nport = {free_port()}\ncoil = 1\n'
    line.file.write_text(text + plc)
    assert main(["run", "--check", str(line.file)]) == 1
    assert "problem  output modbus: not connected within 5 s: PLC 127.0.0.1" in capsys.readouterr().out
    line.file.write_text(text)
    assert main(["run", "--check", str(line.file)]) == 0
    assert "the line can run" in capsys.readouterr().out


def test_a_folder_ends_the_line(tmp_path: Path, tiny_rgb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    (tmp_path / "parts").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "parts" / f"{number}.png"), np.full((40, 40, 3), 120 + number, np.uint8))
    text = f'[camera]\nuri = "dir://parts"\n[recipes]\nfirst = "a"\nmodels = {{ a = "{tiny_rgb}" }}\n'
    (tmp_path / "line.toml").write_text(text + '[trigger]\nkind = "camera"\n')
    assert main(["run", str(tmp_path / "line.toml")]) == 0
    assert capsys.readouterr().out == "4 parts: 4 pass, 0 reject, 0 fault\n"


def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "none.toml")]) == 1
    assert "none.toml: cannot be read" in capsys.readouterr().err
    assert main(["run"]) == 2
    assert "--example" in capsys.readouterr().err
    assert main(["run", "--example", "folder"]) == 0
    assert "[camera]" in capsys.readouterr().out
    assert main(["run", "--example", "service"]) == 0
    assert "WatchdogSec" in capsys.readouterr().out
