"""Notifications to a service manager: a real socket instead of systemd."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

import pytest

from ast_edge.line.service import systemd

UNIT = Path(systemd.__file__).parents[1] / "examples" / "ast-edge.service"


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_manager_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@ast-edge-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if name.startswith("@") else name)
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert systemd.notify("READY=1\nSTATUS=running")
        assert manager.recv(100) == b"READY=1\nSTATUS=running"


def test_without_a_manager_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "no_socket"))
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    assert not systemd.notify("READY=1")


def test_the_watchdog_is_fed_twice_as_often_as_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert systemd.watchdog_interval_s() == 5.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_interval_s() == 5.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_interval_s() is None
    monkeypatch.delenv("WATCHDOG_PID")
    for rubbish in ("", "0", "soon", "-5"):
        monkeypatch.setenv("WATCHDOG_USEC", rubbish)
        assert systemd.watchdog_interval_s() is None


def test_the_unit_runs_without_root_and_is_watched() -> None:
    lines = UNIT.read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert settings["User"] not in ("", "root")
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) > 0
    assert settings["ExecStart"].endswith("ast-edge run /etc/ast-edge/line.toml")
