"""The webhook's spool: what survives a kill, a full disk and a full spool."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.line.outputs.webhooks import make, waiting, webhook
from tests.line.parts import part_result
from tests.line.web.client import web
from tests.waiting import free_port, wait_for

STATION = """
    import sys, time
    from pathlib import Path
    from ast_edge.line.outputs.webhook import WebhookOptions, WebhookOutput
    from tests.line.parts import StillStation, part_result
    options = WebhookOptions(
        kind="webhook", url="http://127.0.0.1:{port}/", spool=Path({spool!r}), retry_s=0.05
    )
    output = WebhookOutput(options)
    output.start(StillStation())
    for number in range({first}, {first} + 40):
        output.put(part_result(number, "reject"))
        time.sleep(0.005)
    time.sleep(600)
"""


@pytest.mark.slow
def test_after_kill_9_everything_in_the_spool_arrives(tmp_path: Path) -> None:
    """Killed three times: without a server, and twice while parts are put and sent."""
    port, heard, kept = free_port(), [], set[str]()

    def die(first: int, when: Any) -> None:
        script = textwrap.dedent(STATION.format(port=port, spool=str(tmp_path), first=first))
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            wait_for(when)
            process.send_signal(signal.SIGKILL)
        kept.update(name[13:-5] for name in waiting(tmp_path))

    die(1, lambda: len(waiting(tmp_path)) == 40)
    with web(port) as server:
        die(41, lambda: any(number == 50 for number in server.numbers))
        die(81, lambda: any(number == 85 for number in server.numbers))
        with webhook(port, tmp_path) as output:
            wait_for(lambda: output.status.queued == 0)
        heard = [str(each.reported["part_id"]) for each in server.posted]
        keys = [each.headers["Idempotency-Key"] for each in server.posted]
    assert heard == keys
    assert kept >= {f"run-{number:07d}" for number in range(1, 41)}
    assert kept <= set(heard)
    # Each kill may repeat the one part whose answer was on its way.
    assert len(heard) - len(set(heard)) <= 2
    assert list(dict.fromkeys(heard)) == sorted(set(heard))
    assert not waiting(tmp_path)


def test_the_oldest_are_given_up_when_the_spool_is_full(tmp_path: Path) -> None:
    with webhook(free_port(), tmp_path, 0.1, spool_entries=10) as output:
        for number in range(1, 31):
            output.put(part_result(number, "reject"))
        wait_for(lambda: (output.status.undelivered, output.status.queued) == (20, 10))
    with web() as server, webhook(server.port, tmp_path, spool_bytes=3 * 4096) as output:
        wait_for(lambda: output.status.delivered == 3)
        assert output.status.undelivered == 7
    assert server.numbers == [28, 29, 30]


@pytest.mark.slow
def test_a_folder_that_cannot_be_used_does_not_stop_the_line(tmp_path: Path) -> None:
    reported: list[object] = []
    spool = tmp_path / "spool"
    spool.write_text("a file stands where the folder should be")
    port = free_port()
    with webhook(port, spool) as output:
        output.report = lambda _, details: reported.append(details.get("spool"))
        for number in range(1, 1202):
            output.put(part_result(number, "reject"))
            if number == 100:
                wait_for(lambda: output.spool.counts.in_memory == 100)
        # A thousand in memory, at most a thousand in front of it.
        wait_for(lambda: (output.status.undelivered, output.status.queued) == (201, 1000))
        assert "cannot be used" in output.status.last_error
        spool.unlink()
        time.sleep(1.1)
        output.put(part_result(5000, "reject"))
        wait_for(lambda: waiting(spool) == ["000000000001-run-0005000.json"])
        with web(port) as server:
            wait_for(lambda: output.status.queued == 0)
    assert server.numbers == [*range(202, 1202), 5000]
    assert [each for each in reported if each is not None][-1] == "in use"


@pytest.mark.slow
def test_a_full_disk_does_not_stop_the_line(tmp_path: Path) -> None:
    """The limit on the size of files stands for the full disk: writing raises OSError."""
    script = """
        import resource, sys, time
        from pathlib import Path
        from ast_edge.line.outputs.webhook import WebhookOptions, WebhookOutput
        from tests.line.parts import StillStation, part_result
        from tests.waiting import wait_for
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        options = WebhookOptions(kind="webhook", url="http://127.0.0.1:{port}/", spool=Path({spool!r}))
        output = WebhookOutput(options)
        output.start(StillStation())
        for number in range(1, 21):
            output.put(part_result(number, "reject"))
        wait_for(lambda: output.status.delivered == 20)
        assert "takes nothing" in output.status.last_error, output.status
        output.close(5)
        assert output.status.undelivered == 0
    """
    with web() as server:
        code = textwrap.dedent(script.format(port=server.port, spool=str(tmp_path)))
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
    assert server.numbers == list(range(1, 21))
    assert not list(tmp_path.glob("*.tmp"))


def test_what_is_only_in_memory_at_the_end_is_undelivered(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with webhook(free_port(), tmp_path / "spool", 0.1) as output:
        for number in range(1, 6):
            output.put(part_result(number, "reject"))
        wait_for(lambda: output.spool.counts.in_memory == 5)
    assert (output.status.undelivered, output.status.queued) == (5, 0)


def test_parts_before_the_start_wait_and_are_bounded(tmp_path: Path) -> None:
    output = make(free_port(), tmp_path)
    for number in range(1, 1101):
        output.put(part_result(number, "reject"))
    assert (output.status.queued, output.status.undelivered) == (1000, 100)
    output.close(0.1)
    assert (output.status.queued, output.status.undelivered) == (0, 1100)
