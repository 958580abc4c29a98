"""`ast-edge run --check` measures a PLC's response time and prints the settings for line.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ast_edge.line.service.check import Finding, check
from ast_edge.line.service.config import read_config
from benchmarks.line.plc import COUNTER, Plc
from tests.line.plcs import ETHERNET_IP, S7, Kind
from tests.waiting import free_port


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[Plc]:
    with Plc(tmp_path) as running:
        yield running


HEAD = """
[camera]
uri = "synthetic://?size=64&trigger=software"
[recipes]
first = "first"
models = {{ first = "{model}" }}
"""
COUNTED = f"""
[trigger]
kind = "modbus"
host = "127.0.0.1"
port = {{port}}
timeout_ms = 2000
counter_register = {COUNTER}
{{more}}
[timing]
deadline_ms = 5000
settle_ms = 20
"""


def findings(folder: Path, text: str) -> list[Finding]:
    file = folder / "line.toml"
    file.write_text(text)
    return list(check(read_config(file)))


def finding(plc: Plc, model: Path, more: str = "", *, output: str = "") -> Finding:
    """What is found about the trigger, or about the output that is given."""
    text = HEAD.format(model=model) + COUNTED.format(port=plc.port, more=more) + output
    what = "output" if output else "trigger"
    (found,) = [found for found in findings(plc.journal.parent, text) if found.what.startswith(what)]
    return found


def test_the_order_is_that_of_the_work_and_ends_with_what_was_measured(
    plc: Plc, tiny_rgb: Path, tmp_path: Path
) -> None:
    found = findings(
        tmp_path,
        HEAD.format(model=tiny_rgb)
        + COUNTED.format(port=plc.port, more="max_gap_ms = 5000")
        + f"""
[archive]
folder = "archive"
[audit]
file = "log/audit.jsonl"
[web]
port = {free_port()}
[[output]]
kind = "webhook"
url = "http://127.0.0.1:{free_port()}/parts"
spool = "spool"
""",
    )
    words = ["recipe", "folder", "folder", "camera", "trigger", "output", "page", "timing"]
    assert [one.what.split()[0] for one in found] == words
    assert found[-1].ok
    assert re.fullmatch(
        r"the first picture arrived after [\d.]+ ms, an inspection takes [\d.]+ ms; "
        r"timing.deadline_ms is 5000 for both",
        found[-1].found,
    )


def test_a_deadline_that_no_inspection_meets(tiny_rgb: Path, tmp_path: Path) -> None:
    found = findings(
        tmp_path,
        HEAD.format(model=tiny_rgb)
        + """
[trigger]
kind = "timer"
per_s = 10
[timing]
deadline_ms = 0.01
""",
    )
    assert [one.what.split()[0] for one in found if not one.ok] == ["timing"]
    assert re.search(
        r"an inspection takes \d+ ms, timing.deadline_ms is 0.01: every part would be late", found[-1].found
    )


def test_a_camera_is_named_once(tiny_rgb: Path, tmp_path: Path) -> None:
    file = tmp_path / "line.toml"
    file.write_text(
        '[camera]\nuri = "dir://pictures"\n[trigger]\nkind = "free"\n'
        f'[recipes]\nfirst = "first"\nmodels = {{ first = "{tiny_rgb}" }}\n'
    )
    (found,) = [found for found in check(read_config(file)) if found.what.startswith("camera")]
    assert found == Finding(
        ok=False, what=f"camera dir://{tmp_path}/pictures", found=f"there is no folder {tmp_path}/pictures."
    )


def test_a_plc_that_is_fast_enough_is_measured(plc: Plc, tiny_rgb: Path) -> None:
    found = finding(plc, tiny_rgb, "max_gap_ms = 2000")
    assert found.ok, found.found
    assert re.search(r"answers in [0-9.]+ ms, in [0-9.]+ ms at most of [0-9]+ polls", found.found)
    assert "settle_ms = 20 after that" in found.found


@pytest.mark.slow
def test_a_plc_that_is_too_slow_is_reported_with_the_time_it_needs(plc: Plc, tiny_rgb: Path) -> None:
    plc.spoil("ok", delay_s=0.15)
    found = finding(plc, tiny_rgb)
    assert not found.ok
    needed = re.search(
        r"max_gap_ms is 100, so that parts would be missed; set it to ([0-9]+) or more", found.found
    )
    assert needed is not None, found.found
    assert int(needed[1]) >= 450
    assert finding(plc, tiny_rgb, f"max_gap_ms = {2 * int(needed[1])}").ok


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("coil = 3", "a second station on its coil would not be noticed"),
        ("registers = 100\nblock = 18", "would not be noticed with block = 18"),
        ("registers = 100\ncoil = 3", ""),
    ],
)
def test_an_output_that_nothing_claims_is_reported(plc: Plc, tiny_rgb: Path, keys: str, words: str) -> None:
    output = f'[[output]]\nkind = "modbus"\nhost = "127.0.0.1"\nport = {plc.port}\n{keys}\n'
    found = finding(plc, tiny_rgb, output=output)
    assert found.ok, found.found
    assert words in found.found
    assert ("would not be noticed" in found.found) == bool(words)


def toml(options: Mapping[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "key", "bit"), [(S7, "db", "reject_bit"), (ETHERNET_IP, "tag", "reject_tag")]
)
@pytest.mark.parametrize("claimed", [False, True])
def test_plcs_without_modbus_are_checked(
    tmp_path: Path, tiny_rgb: Path, kind: Kind, key: str, bit: str, *, claimed: bool
) -> None:
    with kind.plc(tmp_path) as plc:
        file = tmp_path / "line.toml"
        there = toml({"kind": kind.name, "host": "127.0.0.1", "port": plc.port, "timeout_ms": 2000})
        file.write_text(
            f"""
[camera]
uri = "synthetic://?size=64&trigger=software"
[recipes]
first = "first"
models = {{ first = "{tiny_rgb}" }}
[trigger]
{there}{toml(kind.counter)}
max_gap_ms = 4000
[timing]
deadline_ms = 5000
settle_ms = 20
[[output]]
{there}{toml(kind.bit)}{toml(kind.block) if claimed else ""}
"""
        )
        trigger, output = [
            found for found in check(read_config(file)) if found.what.startswith(("trigger", "output"))
        ]
    assert trigger.ok
    assert output.ok
    assert re.search(r"answers in [0-9.]+ ms", trigger.found)
    unclaimed = f"; a second station on its {bit} would not be noticed: give {key}, too"
    assert output.found == "connected" + ("" if claimed else unclaimed)
