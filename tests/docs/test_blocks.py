"""Every block of shell, Python and TOML in README and docs is run, or gives a reason for not being run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ast_edge.line.service.config import LineConfig
from tests.docs.pages import Block, blocks, pages
from tests.paths import ROOT
from tests.small import OPTIONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What is run, checked, or only shown: any other language fails, so that nothing escapes by its name.
RUN, CHECKED, SHOWN = {"sh", "python"}, {"toml"}, {"text", "cpp", "c", "cmake"}
PAGES = [
    page for page in pages() if any(block.language in RUN and block.reason is None for block in blocks(page))
]
TIMEOUT_S = 900
# Training takes a small network and the generated camera small frames: the commands are what is tested.
WRAPPER = """#!{python}
import contextlib, io, sys
from ast_edge.cli import main
words = sys.argv[1:]
if words[:1] == ["train"]:
    words += {small!r}
printed = io.StringIO()
with contextlib.redirect_stdout(printed) if "--example" in words else contextlib.nullcontext():
    code = main(words)
sys.stdout.write(printed.getvalue().replace("synthetic://?", "synthetic://?size=64&"))
sys.exit(code)
"""


@pytest.fixture
def desk(tmp_path: Path, product: Path, rgb_run: Path, rgb_model: Path) -> Path:
    """A folder as the pages assume it: the demo's results, pictures of good and of defective parts."""
    return furnished(tmp_path / "desk", product, rgb_run, rgb_model)


def furnished(desk: Path, product: Path, rgb_run: Path, rgb_model: Path) -> Path:
    demo = desk / "demo"
    demo.mkdir(parents=True)
    (demo / "product").symlink_to(product)
    (demo / "run").symlink_to(rgb_run)
    for path in rgb_model.parent.iterdir():
        shutil.copy(path, demo)
        shutil.copy(path, desk)
    for name, pattern in (
        ("parts/good", "train/good"),
        ("fresh", "validation/good"),
        ("parts/defective", "test/[!g]*"),
    ):
        (desk / name).mkdir(parents=True)
        for path in product.glob(f"{pattern}/rgb/*.png"):
            shutil.copy(path, desk / name / f"{path.parent.parent.name}_{path.name}")
    binaries = desk / ".bin"
    binaries.mkdir()
    command = binaries / "ast-edge"
    command.write_text(WRAPPER.format(python=sys.executable, small=list(OPTIONS)))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return desk


def environment(desk: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(desk / ".bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")]),
        "AST_EDGE_CACHE": str(desk / ".cache"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run_in_order(page: Path, desk: Path) -> None:
    run_page(page, desk)


def run_page(page: Path, desk: Path) -> None:
    """Run what a page shows, block after block."""
    runnable = [block for block in blocks(page) if block.language in RUN and block.reason is None]
    if page.name == "first-model.md":
        rgbd_model(desk)
    for block in runnable:
        words = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*words, block.text],
            cwd=desk,
            env=environment(desk),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{place(block)}\n{block.text}\n{done.stdout}\n{done.stderr[-3000:]}"


def rgbd_model(desk: Path) -> None:
    """The demo's own model takes depth, too."""
    environ = environment(desk)
    for words in (
        ["train", "demo/product", "-o", "rgbd", "--mode", "rgbd"],
        ["export", "rgbd", "-o", "demo/model.onnx"],
    ):
        subprocess.run([str(desk / ".bin" / "ast-edge"), *words], cwd=desk, env=environ, check=True)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_is_of_a_kind_that_is_known(page: Path) -> None:
    for block in blocks(page):
        assert block.language in RUN | CHECKED | SHOWN, place(block)
        assert block.reason is None or len(block.reason) > 10, place(block)


def test_what_is_not_run_is_the_lesser_part() -> None:
    found = [block for page in pages() for block in blocks(page) if block.language in RUN]
    skipped = [block for block in found if block.reason is not None]
    assert len(found) > 30
    assert len(skipped) < len(found) / 2 + 5


COMPLETE = """
[camera]
uri = "synthetic://?trigger=software"
[recipes]
first = "a"
models = { a = "a.onnx" }
[trigger]
kind = "timer"
"""


@pytest.mark.parametrize(
    "block",
    [block for page in pages() for block in blocks(page) if block.language == "toml"],
    ids=lambda block: f"{block.page.name}:{block.line}",
)
def test_every_section_of_line_toml_is_one(block: Block) -> None:
    """A section that a page shows is accepted in a file that is otherwise complete."""
    shown = tomllib.loads(block.text)
    assert shown
    content = {**tomllib.loads(COMPLETE), **shown}
    if "judged_register" in shown.get("trigger", {}):
        content["output"] = [{"kind": "modbus", "host": "192.168.10.5", "registers": 200}]
    if "judged" in shown.get("trigger", {}):
        content["output"] = [{"kind": "s7", "host": "192.168.10.5", "db": 100}]
    if "judged_tag" in shown.get("trigger", {}):
        content["output"] = [{"kind": "ethernet-ip", "host": "192.168.10.5", "tag": "AstEdge"}]
    if any("delay_counts" in output.get("gate", {}) for output in shown.get("output", [])):
        content["trigger"] = {"kind": "modbus", "host": "a", "counter_register": 1, "encoder_register": 2}
    LineConfig.model_validate(content)


def place(block: Block) -> str:
    return f"{block.page.relative_to(ROOT).as_posix()}:{block.line}"
