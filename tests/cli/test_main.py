"""Common to all commands: help, usage errors, interruption, bugs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

import ast_edge
from ast_edge.backends import engine_build
from ast_edge.cli import main
from ast_edge.errors import BackendError
from tests.cli.conftest import Cli
from tests.paths import ROOT

RUNTIME_COMMANDS = ("inspect", "verify", "info", "build-engine")


def raising(error: BaseException) -> object:
    def command(*arguments: object) -> NoReturn:
        raise error

    return command


def test_help_lists_the_commands(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    assert not done.err
    assert all(command in done.out for command in RUNTIME_COMMANDS)


@pytest.mark.parametrize("command", RUNTIME_COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert "MODEL" in done.out


def test_without_a_command_the_help_is_shown_and_the_code_tells_wrong_usage(cli: Cli) -> None:
    done = cli()
    assert done.code == 2
    assert "inspect" in done.out


def test_a_switch_shows_no_type(cli: Cli) -> None:
    for words in (("--help",), ("train", "--help"), ("archive", "--help"), ("archive", "list", "--help")):
        assert "<bool>" not in cli(*words).out


def test_the_help_of_all_commands_at_once(cli: Cli) -> None:
    done = cli("--help-all")
    assert done.code == 0
    for usage in (
        "train [OPTIONS]",
        "archive export [OPTIONS]",
        "audit verify [OPTIONS]",
        "doctor [OPTIONS]",
    ):
        assert f"Usage: ast-edge {usage}" in done.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_generated(process: Cli, shell: str) -> None:
    done = process(
        "--show-completion", shell, environment={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.code == 0, done.err
    assert f"complete_{shell}" in done.out


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (["inspct"], "Did you mean 'inspect'?"),
        (["info", "model.onnx", "--jsn"], "--json"),
        (["train", "x", "-o", "y", "--set", "studnt.width=3"], "Did you mean 'student.width'?"),
        (["train", "x", "-o", "y", "--backbone", "resnt18:1"], "Did you mean 'resnet18'?"),
    ],
)
def test_a_word_that_is_nearly_right_is_guessed(cli: Cli, words: list[str], guess: str) -> None:
    done = cli(*words)
    assert done.code == 2
    assert guess in done.error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["train", "x", "-o", "y", "--preset", "balancd"],
            "Invalid value for '--preset': 'balancd' is not one of 'paper', 'balanced', 'nano'. "
            "Did you mean 'balanced'?",
        ),
        (["train", "x", "-o", "y", "--mode", "video"], "'video' is not one of 'rgb', 'depth', 'rgbd'. Try"),
        (["run", "--example", "foldr"], "'service'. Did you mean 'folder'?"),
        (
            ["train", "x", "-o", "y", "--seed", "a"],
            "Invalid value for '--seed': must be a whole number (given: 'a').",
        ),
        (["inspect", "m", "x", "--threads", "0"], "'--threads': must be at least 1 (given: '0')."),
    ],
)
def test_a_value_that_is_refused_is_described_in_plain_words(cli: Cli, words: list[str], said: str) -> None:
    done = cli(*words)
    assert done.code == 2
    assert said in done.error
    assert "Value error" not in done.error
    assert "Input should" not in done.error


def test_names_of_files_cannot_command_a_terminal(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\u202e.png"
    (tmp_path / evil).write_bytes(b"no picture")
    for words in (
        ("inspect", tiny_rgb, tmp_path),
        ("info", tmp_path / evil),
        ("inspect", tmp_path / evil, "x"),
    ):
        done = cli(*words)
        assert done.code != 0
        for text in (done.out, done.err):
            assert all(one.isprintable() or one == "\n" for one in text)
        assert "\\x1b[2J" in done.out + done.err


def test_a_name_with_a_line_end_is_no_line_of_its_own(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    """A picture that would print the verdict of another one."""
    evil = tmp_path / "a\npass        0.00001  good.png"
    evil.write_bytes(b"no picture")
    done = cli("inspect", tiny_rgb, evil)
    assert [line[:5] for line in done.out.splitlines()] == ["fault", "1 pic"]
    assert "a\\npass" in done.out


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.code, done.out) == (0, f"ast-edge {ast_edge.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspct"], "inspct"),
        (["info"], "MODEL"),
        (["inspect", "model.onnx"], "PATH"),
        (["info", "model.onnx", "--jsn"], "--jsn"),
        (["inspect", "model.onnx", "a.png", "--threads", "0"], "--threads"),
        (["inspect", "model.onnx", "a.png", "--threads", "two"], "--threads"),
        (["inspect", "model.onnx", "a.png", "--overlay"], "Try 'ast-edge inspect --help'."),
        (["archive", "list", "archive", "--since"], "Try 'ast-edge archive list --help'."),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(cli: Cli, arguments: list[str], message: str) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert not done.out
    assert message in done.error
    assert done.error.endswith("--help'.")


def test_an_error_is_one_line_whatever_its_message(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tiny_rgb: Path
) -> None:
    monkeypatch.setattr(engine_build, "build_engine", raising(BackendError("first line\n  second line")))
    done = cli("build-engine", tiny_rgb)
    assert (done.code, done.error) == (1, "first line second line")


def test_interruption_is_one_line_and_code_130(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tiny_rgb: Path
) -> None:
    monkeypatch.setattr(engine_build, "build_engine", raising(KeyboardInterrupt()))
    done = cli("build-engine", tiny_rgb)
    assert (done.code, done.error) == (130, "interrupted.")


def test_a_bug_is_one_line_that_asks_for_a_report(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tiny_rgb: Path
) -> None:
    monkeypatch.delenv("AST_EDGE_DEBUG", raising=False)
    monkeypatch.setattr(engine_build, "build_engine", raising(ZeroDivisionError("division by zero")))
    done = cli("build-engine", tiny_rgb)
    assert done.code == 1
    assert "internal error ZeroDivisionError: division by zero" in done.error
    assert "AST_EDGE_DEBUG=1" in done.error


def test_the_traceback_of_a_bug_is_shown_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_rgb: Path
) -> None:
    monkeypatch.setenv("AST_EDGE_DEBUG", "1")
    monkeypatch.setattr(engine_build, "build_engine", raising(ZeroDivisionError("division by zero")))
    assert main(["build-engine", str(tiny_rgb)]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_went_away_gives_no_traceback(tiny_rgb: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from ast_edge.cli import main; sys.exit(main())",
                "info",
                tiny_rgb,
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ast_edge", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ast-edge ")
