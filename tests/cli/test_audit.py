"""`ast-edge audit verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ast_edge.line.audit.log import AuditLog, AuditOptions
from tests.cli.conftest import Cli


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(AuditOptions(file=path), "run")
    audit.start()
    for name in ("bottle", "can", "jar"):
        audit.tell("recipe", {"taken": name})
    audit.close(20)
    return path


def test_a_good_log(cli: Cli, log: Path) -> None:
    done = cli("audit", "verify", log)
    assert (done.code, done.err) == (0, "")
    assert "3, the last is 3" in done.out
    assert "unchanged" in done.out
    content = json.loads(cli("audit", "verify", log, "--json").out)
    assert content["ok"] is True
    assert content["head"] in done.out
    assert cli("audit", "verify", log, "--head", content["head"]).code == 0


def test_a_changed_log(cli: Cli, log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b"can", b"jar"))
    done = cli("audit", "verify", log)
    assert done.code == 1
    assert done.out.splitlines()[-1].split(maxsplit=1) == [
        "audit.jsonl:2",
        "entry 2 was changed: it does not match its own digest",
    ]
    assert "altered" in done.error
    done = cli("audit", "verify", log, "--json")
    assert done.code == 1
    content = json.loads(done.out)
    assert content["ok"] is False
    assert [(one["file"], one["line"]) for one in content["findings"]] == [("audit.jsonl", 2)]


def test_a_cut_off_end_shows_against_the_noted_head(cli: Cli, log: Path) -> None:
    head = json.loads(cli("audit", "verify", log, "--json").out)["head"]
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    assert cli("audit", "verify", log).code == 0
    done = cli("audit", "verify", log, "--head", head)
    assert done.code == 1
    assert "cut off" in done.out


@pytest.mark.parametrize("head", ["abc", "A" * 64, "0" * 65, ""])
def test_a_head_that_is_none(cli: Cli, log: Path, head: str) -> None:
    done = cli("audit", "verify", log, "--head", head)
    assert (done.code, done.out) == (2, "")
    assert "--head" in done.error


def test_no_log(cli: Cli, tmp_path: Path) -> None:
    done = cli("audit", "verify", tmp_path / "none")
    assert done.code == 1
    assert "there is no audit log" in done.error


def test_without_a_command(cli: Cli) -> None:
    done = cli("audit")
    assert done.code == 2
    assert "audit --help" in done.error
