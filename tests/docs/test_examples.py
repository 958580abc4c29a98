"""The examples run: scripts with a camera and a PLC, C++ as a project, notebooks from top to bottom."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jupytext
import pytest
from PIL import Image

from ast_edge import Inspector
from ast_edge.cli import main
from ast_edge.frames.reading import read_image
from benchmarks.line.plc import Plc
from examples import batch_over_archive, camera_loop, inspect_folder, own_plc_program
from tests.paths import ROOT
from tests.tiny import grey, white
from tests.waiting import wait_for

EXAMPLES = ROOT / "examples"
LINE = """
[camera]
uri = "dir://pictures?rate=1"
[recipes]
first = "product"
models = {{ product = "{model}" }}
[trigger]
kind = "free"
[timing]
deadline_ms = 20000
[archive]
folder = "archive"
every_nth_pass = 1
"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two good parts and a defective one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate((grey(), white(), grey() + 1)):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def test_every_example_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    scripts = [path.stem for path in EXAMPLES.glob("*.py") if path.stem != "__init__"]
    assert len(scripts) == 4
    assert all(f"{name}.main" in text for name in scripts)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"({name}.py)" in listed for name in scripts)


def test_inspect_folder(
    tiny_rgb: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect_folder.main(tiny_rgb, pictures, tmp_path / "overlays") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["pass", "reject", "pass"]
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["1.png"]


def test_inspect_folder_counts_what_it_cannot_read_as_faults(
    tiny_rgb: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "0.png").write_bytes(b"no picture")
    assert inspect_folder.main(tiny_rgb, pictures, tmp_path / "overlays") == 1
    assert capsys.readouterr().out.startswith("fault   0.png: ")


def test_camera_loop(tiny_rgb: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert camera_loop.main(str(tiny_rgb), f"dir://{pictures}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 pass, 1 reject"


@pytest.mark.slow
def test_batch_over_archive(
    tiny_rgb: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The archive of a real station; then with a model whose threshold passes everything."""
    file = pictures.parent / "line.toml"
    file.write_text(LINE.format(model=tiny_rgb), encoding="utf-8")
    assert main(["run", str(file), "--parts", "3"]) == 0
    capsys.readouterr()
    assert batch_over_archive.main(tiny_rgb, tmp_path / "archive") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 parts, 0 verdicts would change"
    lax = tmp_path / "lax"
    lax.mkdir()
    for path in tiny_rgb.parent.iterdir():
        shutil.copy(path, lax)
    assert main(["calibrate", str(lax / tiny_rgb.name), *map(str, pictures.glob("*.png"))]) == 0
    capsys.readouterr()
    assert batch_over_archive.main(lax / tiny_rgb.name, tmp_path / "archive") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 parts, 1 verdicts would change"


def test_own_plc_program(tiny_rgb: Path, tmp_path: Path) -> None:
    """A PLC that sets its sensor twice gets two verdicts."""
    with Plc(tmp_path) as plc:
        words = (str(tiny_rgb), "synthetic://?seed=1&trigger=software", "127.0.0.1", plc.port, 2)
        program = threading.Thread(target=own_plc_program.main, args=words)
        program.start()
        for part in (1, 2):
            plc.sensor(on=True)
            written = wait_for_count(plc, part)
            assert written[0] in {own_plc_program.PASS, own_plc_program.REJECT}
            # The gap between two parts lasts until the program has read the sensor again.
            asked = plc.ask("sensor", on=False)["asked"]
            wait_for(lambda: not program.is_alive() or plc.ask("halt")["asked"] >= asked + 2)  # noqa: B023
        program.join(60)
        assert not program.is_alive()


def wait_for_count(plc: Plc, part: int) -> list[int]:
    found: list[list[int]] = []

    def written() -> bool:
        found[:] = [event["values"] for event in plc.events("registers")]
        return any(values[1:2] == [part] for values in found)

    wait_for(written, 180)
    return found[-1]


@pytest.mark.slow
def test_cpp(tiny_rgb: Path, tmp_path: Path) -> None:
    """Built as a project of its own against the library in the tree, and compared with Python."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    build, python = tmp_path / "build", Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"}
    for words in (["-S", str(EXAMPLES / "cpp"), "-B", str(build)], ["--build", str(build), "-j2"]):
        done = subprocess.run(["cmake", *words], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    picture = tmp_path / "part.png"
    Image.fromarray(white()).save(picture)
    frame = read_image(picture)
    command = [str(build / "example"), str(tiny_rgb), str(frame.shape[1]), str(frame.shape[0])]
    done_raw = subprocess.run(command, input=frame.tobytes(), capture_output=True, check=True)
    verdict, score, *_ = done_raw.stdout.decode().split()
    with Inspector.open(tiny_rgb) as inspector:
        expected = inspector.inspect(frame, colour="rgb")
    assert verdict == expected.verdict
    assert float(score) == pytest.approx(expected.score, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "notebook", sorted((EXAMPLES / "notebooks").glob("*.py")), ids=lambda path: path.stem
)
def test_notebooks(notebook: Path, tmp_path: Path) -> None:
    """Jupytext reads each as a notebook with text and code, and its cells run in order."""
    cells = jupytext.read(notebook).cells
    assert {cell.cell_type for cell in cells} == {"markdown", "code"}
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")]),
        "AST_EDGE_CACHE": str(tmp_path / "cache"),
        "AST_EDGE_NOTEBOOK": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, str(notebook)], env=environ, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") > 3
