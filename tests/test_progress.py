"""Progress without a terminal: the share done and the time left."""

from __future__ import annotations

import time

import pytest

from ast_edge.progress import duration_text, say, stage


def test_lines_say_how_long_the_rest_will_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with stage("training", 100) as shown:
        shown.resume_at(20)  # done by the run before: no pace
        clock[0] += 20
        shown.advance(10, "loss 3")
        clock[0] += 60
        shown.advance(60)
        clock[0] += 5
        shown.advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "training: 30/100 loss 3, about 2 min left",
        "training: 90/100, about 11 s left",
        "training: 100/100",
    ]


def test_an_open_end_has_no_total_and_sentences_come_between(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with stage("collected", None) as shown:
        clock[0] += 20
        shown.advance(3, "1 without a picture")
        shown.say("[red]\x1b[2J is a name")
        clock[0] += 20
        shown.advance(4)
    assert capsys.readouterr().err.splitlines() == [
        "collected: 3 1 without a picture",
        "[red]\\x1b[2J is a name",
        "collected: 7",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (120, "2 min"), (5400, "1.5 h"), (86_400, "24.0 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_what_is_said_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("[bold]\x1b[2Jname")
    assert capsys.readouterr().err == "[bold]\\x1b[2Jname\n"
