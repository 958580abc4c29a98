"""line.toml as a whole, and the examples that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import pytest

from ast_edge.backends import Engine
from ast_edge.errors import LineError
from ast_edge.line.examples import Example, read_example
from ast_edge.line.outputs.ethernet_ip import EthernetIpOutputOptions
from ast_edge.line.outputs.gpio import GpioOutputOptions
from ast_edge.line.outputs.modbus import ModbusOutputOptions
from ast_edge.line.outputs.s7 import S7OutputOptions
from ast_edge.line.service.config import LineConfig, read_collect_config, read_config
from ast_edge.line.triggers.ethernet_ip import EthernetIpTriggerOptions
from ast_edge.line.triggers.modbus import ModbusTriggerOptions
from ast_edge.line.triggers.s7 import S7TriggerOptions

LEAST = """
[camera]
uri = "synthetic://?trigger=software"
[recipes]
first = "a"
models = { a = "a.onnx", b = "/models/b.onnx" }
[trigger]
kind = "timer"
"""


def read(folder: Path, text: str) -> LineConfig:
    path = folder / "line.toml"
    path.write_text(text)
    return read_config(path)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(LineError) as caught:
        read(folder, text)
    return str(caught.value).replace(str(folder / "line.toml"), "FILE")


def test_the_least_that_a_line_needs(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    assert config.recipes.models == {"a": tmp_path / "a.onnx", "b": Path("/models/b.onnx")}
    assert config.camera.software_trigger
    assert config.watch().triggered
    assert config.watch().policy == "every"
    assert config.station_timing().deadline_ms == 200
    assert config.output == ()


def test_only_collecting_needs_no_recipe(tmp_path: Path) -> None:
    bare = '[camera]\nuri = "dir://a?trigger=software"\n[trigger]\nkind = "timer"\n'
    assert "recipes: is missing" in refused(tmp_path, bare)
    config = read_collect_config(tmp_path / "line.toml")
    assert config.recipes is None
    assert config.camera.parsed.place == str(tmp_path / "a")
    (tmp_path / "line.toml").write_text(LEAST)
    assert read_collect_config(tmp_path / "line.toml").recipes is not None


def test_the_processor_of_the_recipes(tmp_path: Path) -> None:
    text = LEAST.replace("[trigger]", 'backend = "openvino"\ndevice = "GPU.1"\nallow_cpu = true\n[trigger]')
    engine = read(tmp_path, text).recipes.engine
    assert engine == Engine("openvino", device="GPU.1", allow_cpu=True)
    assert read(tmp_path, LEAST).recipes.engine == Engine()


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = LEAST.replace("synthetic://?trigger=software", "dir://some parts?rate=2")
    text += '[archive]\nfolder = "kept"\n[audit]\nfile = "/var/audit.jsonl"\n[web]\nport = 1\n'
    text += 'token = { file = "secret" }\n'
    config = read(tmp_path, text)
    assert config.camera.parsed.place == str(tmp_path / "some parts")
    assert config.camera.parsed.options == {"rate": "2"}
    assert config.archive is not None
    assert config.archive.folder == tmp_path / "kept"
    assert config.audit is not None
    assert config.audit.file == Path("/var/audit.jsonl")
    assert config.web is not None
    assert config.web.token is not None
    assert config.web.token.file == tmp_path / "secret"
    # Some editors put a byte-order mark before a text; it is no part of a secret.
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "secret").write_bytes(mark + "gehe\u00edm\n".encode())
        assert config.web.token.read("web.token") == "gehe\u00edm"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('first = "a"', 'first = "c"'), "FILE:4: recipes: first = 'c' is not among the models (a, b)"),
        (
            ("[trigger]", 'device = "GPU"\n[trigger]'),
            "device GPU: is for OpenVINO; give the backend openvino",
        ),
        (("[trigger]", "allow_cpu = true\n[trigger]"), "allow-cpu: is for a provider or a device"),
        (("[trigger]", 'provider = "metal"\n[trigger]'), "FILE:7: recipes.provider: must be"),
        (("synthetic://?trigger=software", "no uri"), "FILE:2: camera: camera: expected a URI"),
        (('kind = "timer"', 'kind = "free"'), "the camera would wait forever"),
        (('kind = "timer"', 'kind = "software"'), "trigger: max_age_ms is required"),
        (('kind = "timer"', 'kind = "software"\nmax_age_ms = 100'), "needs [web] with a token"),
        (('kind = "timer"', 'kind = "mqtt"\nhost = "a"\ntopic = "b"'), "trigger: max_age_ms is required"),
        (('kind = "timer"', 'kind = "telepathy"'), "FILE:7: trigger: its 'kind' must be one of"),
        (('kind = "timer"', 'kind = "timer"\nper_s = 0'), "FILE:9: trigger.per_s: must be greater"),
        (("[trigger]", "[timing]\ndeadline_ms = nan\n[trigger]"), "FILE:8: timing.deadline_ms:"),
        (("[trigger]", "[log]\nlevel = 'loud'\n[trigger]"), "FILE:8: log.level:"),
        (("[recipes]", "stall_s = 9\n[recipes]"), "lost_s must be longer than stall_s"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert said in refused(tmp_path, LEAST.replace(*change))


def test_two_outputs_need_two_names(tmp_path: Path) -> None:
    output = '[[output]]\nkind = "modbus"\nhost = "plc"\ncoil = 1\n'
    assert "two outputs are called 'modbus'" in refused(tmp_path, LEAST + output * 2)
    named = output + output + 'name = "second"\n'
    assert [each.name for each in read(tmp_path, LEAST + named).output] == ["modbus", "second"]


def test_a_gate_is_behind_the_deadline_and_the_plc_has_one_map(tmp_path: Path) -> None:
    gate = '[[output]]\nkind = "modbus"\nhost = "plc"\ncoil = 1\ngate = { delay_ms = 150 }\n'
    assert "is not above timing.deadline_ms = 200" in refused(tmp_path, LEAST + gate)
    assert read(tmp_path, LEAST + gate.replace("150", "350"))
    counter = 'kind = "modbus"\nhost = "plc"\ncounter_register = 0\njudged_register = 112\n'
    plc = LEAST.replace('kind = "timer"\n', counter)
    output = '[[output]]\nkind = "modbus"\nhost = "plc"\nregisters = '
    assert "nothing would write it" in refused(tmp_path, plc)
    assert "nothing would write it" in refused(tmp_path, f"{plc}{output}200\n")
    elsewhere = output.replace('"plc"', '"another"')
    assert "nothing would write it" in refused(tmp_path, f"{plc}{elsewhere}100\n")
    assert "nothing would write it" in refused(tmp_path, f"{plc}{output}100\nport = 1502\n")
    assert read(tmp_path, f"{plc}{output}100\n")


def test_a_plc_of_siemens_has_one_map_too(tmp_path: Path) -> None:
    counter = 'kind = "s7"\nhost = "plc"\ncounter = "DB100.DBD48"\njudged = "DB100.DBD24"\n'
    plc = LEAST.replace('kind = "timer"\n', counter)
    output = '[[output]]\nkind = "s7"\nhost = "plc"\ndb = '
    assert "nothing would write it" in refused(tmp_path, f"{plc}{output}101\n")
    assert "(DB100.DBD26)" in refused(tmp_path, f"{plc}{output}100\nstart = 2\n")
    assert read(tmp_path, f"{plc}{output}100\n")


@pytest.mark.parametrize(
    "name", [name for name in get_args(Example) if name not in {"service", "s7-db", "ethernet-ip-tags"}]
)
def test_the_examples_are_whole(tmp_path: Path, name: Example) -> None:
    config = read(tmp_path, read_example(name))
    assert config.archive is not None
    if name == "gige-modbus":
        assert isinstance(config.trigger, ModbusTriggerOptions)
        plc = cast("ModbusOutputOptions", config.output[0])
        assert plc.registers is not None
        assert config.trigger.judged_register == plc.registers + 12
    if name == "s7":
        assert isinstance(config.trigger, S7TriggerOptions)
        assert config.trigger.judged_place == cast("S7OutputOptions", config.output[0]).judged_place
    if name == "ethernet-ip":
        assert isinstance(config.trigger, EthernetIpTriggerOptions)
        output = cast("EthernetIpOutputOptions", config.output[0])
        assert config.trigger.judged_place == output.judged_place
    if name == "csi-gpio":
        assert isinstance(config.output[0], GpioOutputOptions)


def test_a_camera_that_runs_freely_needs_times_that_nothing_else_tells(tmp_path: Path) -> None:
    free = LEAST.replace("synthetic://?trigger=software", "gige://LINE")
    assert "timing.settle_ms is required" in refused(tmp_path, free)
    settled = f"{free}\n[timing]\nsettle_ms = 0\n"
    assert read(tmp_path, settled).station_timing().delay_ms is None
    stream = settled.replace("gige://LINE", "rtsp://10.0.0.7/cam")
    assert "camera.delay_ms is required: rtsp://" in refused(tmp_path, stream)
    known = stream.replace("[recipes]", "delay_ms = 300\n[recipes]")
    assert read(tmp_path, known).station_timing().delay_ms == 300
    # Frames that are parts themselves, and frames that are asked for, need neither.
    assert read(tmp_path, free.replace('kind = "timer"', 'kind = "free"'))
    assert read(tmp_path, free.replace("gige://LINE", "gige://LINE?trigger=software"))


def test_a_picture_has_100_ms_unless_it_is_the_trigger(tmp_path: Path) -> None:
    assert read(tmp_path, LEAST).station_timing().picture_within_ms == 100
    more = f"{LEAST}\n[timing]\npicture_within_ms = 40\n"
    assert read(tmp_path, more).station_timing().picture_within_ms == 40
    recorded = LEAST.replace("synthetic://?trigger=software", "synthetic://")
    assert read(tmp_path, recorded).station_timing().picture_within_ms is None
    settle = "\n[timing]\nsettle_ms = 0\n"
    free = LEAST.replace("synthetic://?trigger=software", "gige://LINE?trigger=off") + settle
    assert read(tmp_path, free).station_timing().picture_within_ms == 100
    triggered = LEAST.replace("synthetic://?trigger=software", "gige://LINE?trigger=line0")
    assert read(tmp_path, triggered).station_timing().picture_within_ms == 100
    stream = LEAST.replace('"synthetic://?trigger=software"', '"rtsp://127.0.0.1/a"\ndelay_ms = 400')
    assert read(tmp_path, stream + settle).station_timing().picture_within_ms == 500
