"""Parts prepared by the kernels that are compiled for this processor: the bits of the definition."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ast_edge.cuda import host, host_build, sources
from ast_edge.cuda.host import HostKernels, HostPreparer
from ast_edge.doctor import software
from ast_edge.errors import FrameError
from ast_edge.frames.part import Part
from ast_edge.frames.pixel_formats import COLOURS, Colour
from ast_edge.frames.prepared import prepare
from ast_edge.inspector import Inspector
from ast_edge.model.manifest import Crop, DepthPreprocessing, Mode, Preprocessing
from tests.paths import ROOT
from tests.tiny import part as tiny_part

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
pytestmark = needs_compiler
CHANNELS: dict[Colour, int] = {"rgb": 3, "bgr": 3, "yuyv": 2}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return host_build.build(tmp_path_factory.mktemp("host") / "host_kernels.so")


@pytest.fixture(scope="module")
def kernels(library: Path) -> HostKernels:
    found = host.load(library)
    assert isinstance(found, HostKernels), found
    return found


@pytest.fixture
def in_use(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is that of this process."""
    monkeypatch.setattr(sources, "LIBRARY", library)


def noise(colour: Colour, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    rows = height * 3 // 2 if colour == "nv12" else height
    shape = (rows, width, CHANNELS[colour]) if colour in CHANNELS else (rows, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def check(preparer: HostPreparer, part: Part, spec: Preprocessing) -> None:
    found, expected = preparer.prepare(part), prepare(part, spec)
    assert list(found.inputs) == list(expected.inputs)
    assert (found.levels, found.part_seen) == (expected.levels, expected.part_seen)
    for name, array in expected.inputs.items():
        assert (found.inputs[name].dtype, found.inputs[name].shape) == (array.dtype, array.shape)
        if name == "depth":
            np.testing.assert_allclose(found.inputs[name], array, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(found.inputs[name], array)


@pytest.mark.parametrize("colour", COLOURS)
@settings(max_examples=40)
@given(data=st.data())
def test_pictures_have_the_bits_of_the_definition(
    kernels: HostKernels, colour: Colour, data: st.DataObject
) -> None:
    """Any size, crop and pitch; enlarged, reduced, and by far."""
    draw = data.draw
    width, height = 2 * draw(st.integers(2, 120)), 2 * draw(st.integers(2, 120))
    crop = None
    if draw(st.booleans()):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        crop = Crop(x=x, y=y, width=draw(st.integers(1, width - x)), height=draw(st.integers(1, height - y)))
    spec = Preprocessing(image_size=draw(st.integers(1, 150)), map_size=1, crop=crop)
    frame = noise(colour, width, height, draw(st.integers(0, 99)))
    if draw(st.booleans()):  # a view: rows with a gap behind them, as cameras hand out
        wide = np.zeros((frame.shape[0], frame.shape[1] + 6, *frame.shape[2:]), np.uint8)
        wide[:, : frame.shape[1]] = frame
        frame = wide[:, : frame.shape[1]]
    check(HostPreparer(kernels, spec), Part(frame, colour, None, width, height), spec)


@pytest.mark.parametrize("view", ["mirrored", "upside down", "every second", "transposed"])
def test_frames_that_do_not_lie_in_rows(kernels: HostKernels, view: str) -> None:
    frame = noise("rgb", 40, 30, 0)
    views = {
        "mirrored": frame[:, ::-1],
        "upside down": frame[::-1],
        "every second": frame[:, ::2],
        "transposed": frame.transpose(1, 0, 2),
    }
    spec = Preprocessing(image_size=32, map_size=4)
    seen = views[view]
    check(HostPreparer(kernels, spec), Part(seen, "rgb", None, seen.shape[1], seen.shape[0]), spec)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mask", ["binary", "fractional"])
def test_depth_maps_and_pictures_of_one_part(kernels: HostKernels, dtype: type[Any], mask: Any) -> None:
    rng = np.random.default_rng(0)
    depth_m = np.full((90, 120), 0.5, dtype)
    depth_m[20:60, 30:90] -= rng.uniform(0.005, 0.03, (40, 60)).astype(dtype)
    depth_m[rng.random((90, 120)) < 0.1] = 0.0
    spec = Preprocessing(image_size=64, map_size=8, depth=DepthPreprocessing(mask=mask))
    preparer = HostPreparer(kernels, spec)
    frame = noise("bayer_grbg", 120, 90, 1)
    for z_m in (depth_m, depth_m[::-1], np.full_like(depth_m, 0.5)):  # the last shows no part
        check(preparer, Part(frame, "bayer_grbg", z_m, 120, 90), spec)
        check(preparer, Part(None, None, z_m, 120, 90), spec)


@pytest.mark.parametrize("fault", [np.nan, -0.5, 250.0])
def test_a_depth_map_that_cannot_be_used_is_refused_in_the_words_of_the_definition(
    kernels: HostKernels, fault: float
) -> None:
    spec = Preprocessing(image_size=32, map_size=4, depth=DepthPreprocessing())
    z_m = np.full((30, 40), 0.5, np.float32)
    z_m[3, 4] = fault
    with pytest.raises(FrameError) as expected:
        prepare(Part(None, None, z_m, 40, 30), spec)
    with pytest.raises(FrameError) as found:
        HostPreparer(kernels, spec).prepare(Part(None, None, z_m, 40, 30))
    assert str(found.value) == str(expected.value)


def test_inputs_of_earlier_parts_stay_as_they_are(kernels: HostKernels) -> None:
    spec = Preprocessing(image_size=16, map_size=2)
    preparer = HostPreparer(kernels, spec)
    parts = [
        Part(noise("rgb", 30 + 2 * (i % 6), 20, i), "rgb", None, 30 + 2 * (i % 6), 20) for i in range(12)
    ]
    found = [preparer.prepare(part).inputs["image"] for part in parts]
    for part, image in zip(parts, found, strict=True):
        np.testing.assert_array_equal(image, prepare(part, spec).inputs["image"])


@pytest.mark.usefixtures("in_use")
@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
def test_an_inspector_uses_them_and_gives_the_same_verdicts(
    mode: Mode, tiny_models: dict[Mode, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Inspector.open(tiny_models[mode]) as compiled:
        assert compiled.frames_by == "compiled kernels"
        monkeypatch.setattr(sources, "LIBRARY", Path("nowhere.so"))
        with Inspector.open(tiny_models[mode]) as plain:
            assert plain.frames_by == "NumPy; compiled kernels: not compiled"
            for good in (True, False):
                found, expected = (each.inspect(**tiny_part(mode, good=good)) for each in (compiled, plain))
                assert (found.verdict, found.levels) == (expected.verdict, expected.levels)
                assert found.score == pytest.approx(expected.score, rel=1e-6)


@pytest.mark.usefixtures("in_use")
def test_the_doctor_names_what_prepares_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (finding,) = software.look_at_frames()
    assert (finding.level, finding.found) == ("ok", "prepared by compiled kernels (host_kernels.so)")
    for path, level in ((tmp_path / "none.so", "note"), (tmp_path / "bad.so", "warning")):
        if path.name == "bad.so":
            path.write_bytes(b"\x7fELF no library")
        monkeypatch.setattr(sources, "LIBRARY", path)
        (finding,) = software.look_at_frames()
        assert (finding.level, "host_build" in finding.fix) == (level, True)


def compiled_with(folder: Path, *changes: str) -> Path:
    """A library of changed sources."""
    for source in sources.HOST_SOURCES:
        shutil.copy(source, folder)
    old, new = changes[:2]
    image = folder / "image.cuh"
    text = image.read_text(encoding="utf-8")
    assert old in text
    image.write_text(text.replace(old, new), encoding="utf-8")
    target = folder / "changed.so"
    command = ["g++", *sources.HOST_OPTIONS, f'-DAST_EDGE_KERNELS_SHA256="{changes[2]}"']
    subprocess.run([*command, str(folder / "host_kernels.cpp"), "-o", str(target)], check=True)
    return target


@pytest.mark.slow
def test_a_library_of_other_sources_or_with_other_bits_is_not_used(tmp_path: Path) -> None:
    old, new = (
        "sums[i] = 1 << (bits - 1)",
        "sums[i] = (1 << (bits - 1)) + 1000000",
    )  # rounds a little otherwise
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = compiled_with(tmp_path / "a", old, new, "0" * 64)
    assert host.load(other) == f"{other} was compiled from other sources"
    wrong = compiled_with(tmp_path / "b", old, new, sources.host_sha256())
    assert host.load(wrong) == f"{wrong} gives other bits than NumPy for rgb"


@pytest.mark.slow
def test_the_command_compiles_or_says_why_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ast_edge.cuda.host_build", "-o", str(tmp_path / "host_kernels.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == f"{tmp_path / 'host_kernels.so'}\n"
    assert isinstance(host.load(tmp_path / "host_kernels.so"), HostKernels)
    done = subprocess.run(
        [*command, "--compiler", "no-such-g++"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr.startswith("host_build: error: no-such-g++ cannot be run (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["host_kernels.so"]


@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils are not installed")
def test_the_library_shares_no_variable_with_another_one(library: Path) -> None:
    """Else the loader takes those of the first library that was loaded, of whatever type they are there."""
    done = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
    symbols = {name: kind for _, kind, name in map(str.split, done.stdout.splitlines())}
    functions = {name for name, kind in symbols.items() if kind in "TWi"}
    assert symbols.keys() - functions == {"ast_edge_kernels_sha256"}
    assert all(name.startswith("ast_edge_") for name in functions)


def wheel(folder: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
@pytest.mark.parametrize(
    ("compiler", "machine"), [("g++", os.uname().machine), ("aarch64-linux-gnu-g++", "aarch64")]
)
def test_a_wheel_with_the_kernels(compiler: str, machine: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    made = wheel(tmp_path, AST_EDGE_KERNELS="1", AST_EDGE_CXX=compiler)
    assert made.name.endswith(f"-py3-none-linux_{machine}.whl")
    assert made.stat().st_size < 1_000_000
    with zipfile.ZipFile(made) as archive:
        content = archive.read("ast_edge/cuda/host_kernels.so")
    assert content.startswith(b"\x7fELF")
    assert content[18] == {"x86_64": 0x3E, "aarch64": 0xB7}[machine]  # the machine in ELF's header
    if machine == os.uname().machine:
        library = tmp_path / "host_kernels.so"
        library.write_bytes(content)
        assert isinstance(host.load(library), HostKernels)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
def test_a_wheel_without_the_kernels_is_pure(tmp_path: Path) -> None:
    made = wheel(tmp_path)
    assert made.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(made) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
