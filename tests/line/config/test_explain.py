"""What line.toml may contain: every key has a meaning, and the schema agrees with the classes."""

from __future__ import annotations

import json
import sys
from importlib import resources

import jsonschema
import pytest

from ast_edge.cli import main
from ast_edge.errors import UsageError
from ast_edge.line.config.explain import explain, introduction, keys, meaning, schema, sections
from ast_edge.line.config.options import Options
from ast_edge.line.service.config import LineConfig, TimingSection

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = sorted(
    entry.name
    for entry in resources.files("ast_edge.line.examples").iterdir()
    if entry.name.endswith(".toml")
)


PLCS = ("modbus", "s7", "ethernet-ip")
FOLDER = resources.files("ast_edge.line.examples")
EXAMPLES = sorted(entry.name for entry in FOLDER.iterdir() if entry.name.endswith(".toml"))


def example(name: str) -> dict[str, object]:
    content: dict[str, object] = tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))
    return content


def test_every_key_has_a_meaning() -> None:
    tables = {(key.section, key.name) for key in keys(LineConfig) if list(sections(key.field.annotation))}
    without = [
        f"{key.path}.{key.name}"
        for key in keys(LineConfig)
        if not meaning(key.section, key.name) and (key.section, key.name) not in tables
    ]
    assert without == []
    assert len(keys(LineConfig)) > 150


def test_a_key_everywhere_it_occurs() -> None:
    text = explain(LineConfig, "poll_ms")
    assert text == "\n\n".join(
        f'[trigger] with kind = "{kind}"\n'
        "poll_ms: number ≥ 1 ≤ 1000, default 5\n"
        "`poll_ms`: the interval between polls."
        for kind in PLCS
    )
    assert explain(LineConfig, "trigger.poll_ms") == text
    titles = [line for line in explain(LineConfig, "room").splitlines() if line.startswith("[")]
    assert titles == [f'[output] with kind = "{kind}"' for kind in (*PLCS, "gpio", "mqtt", "opcua")]


def test_a_section_and_one_inside_another() -> None:
    lines = explain(LineConfig, "timing").splitlines()
    assert lines[0] == "[timing]"
    assert [line.partition(":")[0] for line in lines[-7:]] == list(TimingSection.model_fields)
    assert "deadline_ms: number > 0 ≤ 60000, default 200" in lines
    assert explain(LineConfig, "output.gate").splitlines()[0] == "[output.gate]"
    assert explain(LineConfig, "trigger").count("[trigger] with kind = ") == 9


def test_a_key_that_there_is_not() -> None:
    with pytest.raises(UsageError, match=r"pol_ms: .* Did you mean 'poll_ms'\? Its sections are"):
        explain(LineConfig, "pol_ms")


def test_introductions_leave_out_what_stands_with_the_keys() -> None:
    class Section(Options):
        """A thing. `size`: in metres. It matters."""

        size: float = 1.0

    assert introduction(Section) == "A thing. It matters."


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    found = json.loads(schema(LineConfig))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_schema_takes_what_the_station_takes(
    name: str, validator: jsonschema.Draft202012Validator
) -> None:
    content = example(name)
    validator.validate(content)
    changes: tuple[dict[str, object], ...] = (
        {"spelt": {}},
        {"timing": {"deadline": 5}},
        {"timing": {"deadline_ms": 0}},
    )
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**content, **change})


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_name_the_schema_and_how_it_is_written(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--example", name.removesuffix(".toml")]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "#:schema line.schema.json"
    command = second.partition(": ")[2].partition(" > ")[0].split()
    assert main(command[1:]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(schema(LineConfig))


def test_keys_are_described_in_the_schema() -> None:
    timing = json.loads(schema(LineConfig))["$defs"]["TimingSection"]["properties"]
    assert timing["drain_s"]["description"].startswith("`drain_s`: given to open parts")


def test_explain_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--explain", "timing.drain_s"]) == 0
    assert "drain_s: number ≥ 0 ≤ 60, default 5\n" in capsys.readouterr().out
    assert main(["run", "--explain", "nothing.like.it"]) == 2
    assert "line.toml has no such section or key." in capsys.readouterr().err
