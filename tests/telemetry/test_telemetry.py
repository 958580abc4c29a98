"""Nothing that ast-edge starts looks up a name outside this machine, native libraries included."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.util
import socket
import struct
import sys
from pathlib import Path

import pytest

from ast_edge.cli import app
from ast_edge.telemetry import without_openvino_telemetry
from tests.small import OPTIONS
from tests.telemetry.watched import Watched, compile_recorder
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

PATIENCE_S = 60  # ONNX Runtime's first report comes after ten seconds
ONE_INFERENCE = """
import sys, time, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(picture,) = session.get_inputs()
session.run(None, {picture.name: numpy.zeros(picture.shape, numpy.uint8)})
time.sleep(600)
"""
# The demo's own way with a product of a few parts, which takes minutes otherwise.
SHORT_DEMO = """
from ast_edge.cli import demo
from ast_edge.synthetic import PartCounts, write_product
call = demo._call
def shortened(*words, **rest):
    call(*words, *(("--image-size", "64", "--epochs", "1") if words[0] == "train" else ()), **rest)
few = PartCounts(train=9, validation=4, test_good=4, test_per_defect=2)
def product(folder, seed):
    write_product(folder, few, seed=seed, size=64)
demo._call, demo._make_product = shortened, product
"""
LINE = """
[camera]
uri = "synthetic://?size=64&trigger=software"
[recipes]
first = "first"
models = {{ first = "{model}" }}
backend = "{backend}"
[trigger]
kind = "timer"
per_s = 2
[archive]
folder = "archive"
every_nth_pass = 1
min_free_gb = 0
[audit]
file = "audit.jsonl"
"""
LINE_PARTS = 50  # half a minute


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def watched(recorder: Path, tmp_path: Path) -> Watched:
    return Watched(recorder, tmp_path / "home")


@pytest.fixture(scope="module")
def line(recorder: Path, tiny_rgb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a station that judged for half a minute, with its archive and audit log."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "line.toml").write_text(LINE.format(model=tiny_rgb, backend="onnxruntime"))
    watched = Watched(recorder, folder / "home")
    done = watched.command("run", folder / "line.toml", "--parts", LINE_PARTS)
    assert done.returncode == 0, done.stderr
    assert f"{LINE_PARTS} parts" in done.stdout
    assert (watched.turned_to(), watched.left_at_home()) == ([], [])
    return folder


SIOCGIFBRDADDR = 0x8919  # <linux/sockios.h>


def reports_to_its_maker() -> bool:
    import onnxruntime  # noqa: PLC0415

    return tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 29)


def test_the_recorder_sees_what_python_looks_up(watched: Watched) -> None:
    script = "import socket\ntry: socket.getaddrinfo('example.invalid', 80)\nexcept OSError: pass"
    assert watched.python(script).returncode == 0
    assert watched.turned_to() == ["name example.invalid"]


def test_the_recorder_sees_onnx_runtime_report_to_its_maker(watched: Watched, tiny_rgb: Path) -> None:
    """Without ast-edge; or the tests below could not fail."""
    if not reports_to_its_maker():
        pytest.skip("ONNX Runtime older than 1.29 reports nothing")
    with watched.started(ONE_INFERENCE, tiny_rgb) as process:
        wait_for(lambda: process.poll() is not None or bool(watched.turned_to()), PATIENCE_S)
    assert any("microsoft" in line for line in watched.turned_to())
    assert any("deviceid" in name for name in watched.left_at_home())


def test_the_recorder_sees_openvino_report_to_its_maker(watched: Watched) -> None:
    if importlib.util.find_spec("openvino_telemetry") is None:
        pytest.skip("the package openvino_telemetry is not installed")
    assert watched.python("import openvino, time; time.sleep(2)").returncode == 0
    assert any("google-analytics" in line for line in watched.turned_to())


COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "{product}", "-o", "{new}", "--mode", "rgb", *OPTIONS),
    "evaluate": ("evaluate", "{model}", "{product}", "--report", "{new}.html"),
    "export": ("export", "{run}", "-o", "{new}.onnx", "--precision", "fp16,int8"),
    "demo": ("demo", "-o", "{new}", "--weights", "seeded"),
    "inspect": ("inspect", "{model}", "{product}/train/good/rgb", "--overlay", "{new}"),
    "calibrate": ("calibrate", "{model}", "{product}/test/good/rgb", "--dry-run"),
    "compare": ("compare", "{model}", "{other}", "{product}", "--html", "{new}.html"),
    "verify": ("verify", "{model}"),
    "info": ("info", "{model}"),
    "build-engine": ("build-engine", "{model}"),
    "benchmark": ("benchmark", "{model}", "--duration", "1"),
    "run": ("run", "{line}/line.toml", "--check"),
    "collect": ("collect", "{line}/line.toml", "-o", "{new}", "--parts", "3"),
    "doctor": ("doctor",),
    "archive list": ("archive", "list", "{line}/archive"),
    "archive show": ("archive", "show", "{line}/archive", "1"),
    "archive export": ("archive", "export", "{line}/archive", "{new}"),
    "archive append": ("archive", "append", "{line}/archive", "{new}.csv"),
    "audit verify": ("audit", "verify", "{line}/audit.jsonl"),
}
# These end with an error on a machine without GPU, or for a part that there is not.
MAY_FAIL = {"build-engine", "doctor", "archive show"}


def every_command() -> set[str]:
    plain = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    grouped = {
        f"{group.name} {command.name or command.callback.__name__}"
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
        if command.callback
    }
    return plain | grouped


def test_every_command_is_watched() -> None:
    assert set(COMMANDS) == every_command()


def broadcasts() -> set[str]:
    """Every network's broadcast address and the one for all of them."""
    found = {"address 255.255.255.255"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(asking, SIOCGIFBRDADDR, struct.pack("256s", name.encode()))
                found.add(f"address {socket.inet_ntoa(answer[20:24])}")
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_looks_anything_up(  # noqa: PLR0917
    name: str,
    watched: Watched,
    product: Path,
    rgb_run: Path,
    rgb_model: Path,
    tiny_rgb: Path,
    line: Path,
    tmp_path: Path,
) -> None:
    places = {"product": product, "run": rgb_run, "model": rgb_model, "other": tiny_rgb, "line": line}
    places["new"] = tmp_path / "new"
    words = [word.format(**places) for word in COMMANDS[name]]
    done = watched.command(*words, before=SHORT_DEMO if name == "demo" else "")
    assert "internal error" not in done.stderr
    if name not in MAY_FAIL:
        assert done.returncode == 0, done.stderr
    # The doctor asks the local networks for their cameras; no router passes that on.
    assert set(watched.turned_to()) <= (broadcasts() if name == "doctor" else set())
    # ONNX Runtime's first look-up comes after ten seconds; its device's number and database come at once.
    assert watched.left_at_home() == []


@pytest.mark.parametrize("command", [("verify",), ("benchmark", "--duration", "5")])
def test_openvino_looks_nothing_up(command: tuple[str, ...], watched: Watched, tiny_rgb: Path) -> None:
    if importlib.util.find_spec("openvino") is None:  # to import it here would report from here
        pytest.skip("OpenVINO is not installed")
    name, *options = command
    done = watched.command(name, tiny_rgb, "--backend", "openvino", *options)
    assert done.returncode == 0, done.stderr
    assert (watched.turned_to(), watched.left_at_home()) == ([], [])


def test_openvino_takes_its_own_way_again_after_the_import() -> None:
    """The user's own program may want the package; only OpenVINO's import goes without it."""
    before = sys.modules.get("openvino_telemetry", ...)
    with without_openvino_telemetry(), pytest.raises(ModuleNotFoundError):
        importlib.import_module("openvino_telemetry")
    assert sys.modules.get("openvino_telemetry", ...) is before
