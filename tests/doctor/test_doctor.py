"""What `ast-edge doctor` reads from the files and programs of Jetsons and other machines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.cameras import opening
from ast_edge.cuda.device import Device
from ast_edge.doctor import cameras, jetson, machine, software
from ast_edge.doctor.finding import Finding, size
from ast_edge.machine import asking
from ast_edge.machine.asking import ask, read, tool
from ast_edge.machine.jetson import is_jetson, parse_free_clocks, parse_power_mode, parse_release
from tests.paths import ROOT

RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
)
CLOCKS = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Developer Kit
Online CPUs: 0-3
cpu0: Online=1 Governor=schedutil MinFreq={low} MaxFreq=1510400 CurrentFreq=1510400 IdleStates: WFI=0 c7=0
cpu4: Online=0 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=729600 IdleStates: WFI=0 c7=0
GPU MinFreq={gpu} MaxFreq=624750000 CurrentFreq=624750000
EMC MinFreq=204000000 MaxFreq=2133000000 CurrentFreq=2133000000 FreqOverride={held}
FAN Dynamic Speed Control=nvfancontrol hwmon0_pwm1=60
NV Power Mode: 15W
"""
HELD = CLOCKS.format(low=1510400, gpu=624750000, held=1)
FREE = CLOCKS.format(low=729600, gpu=306000000, held=0)
BUILD = """
  Video I/O:
    FFMPEG:                      YES
    GStreamer:                   {gstreamer}
    v4l/v4l2:                    {v4l2}
"""
MEMORY = "MemTotal:        7802040 kB\nMemFree:          402040 kB\nMemAvailable:    {free} kB\n"

Tool = Callable[[str, str], None]


@pytest.fixture
def make_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Put a program of this name and shell script before those of the system."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def levels(findings: list[Finding]) -> list[str]:
    """Of findings that have a fix, in one sentence, where they are not ok."""
    for one in findings:
        assert re.fullmatch("" if one.level == "ok" else r"[A-Z].*\.", one.fix)
        assert ". " not in one.fix
    return [one.level for one in findings]


# ---- Jetson ------------------------------------------------------------------------------------------------


def test_the_release_of_jetson_linux() -> None:
    assert parse_release(RELEASE) == (36, "4.3")
    assert parse_release("# R32 (release), REVISION: 7.1, GCID: 29818004\n") == (32, "7.1")
    assert parse_release("Debian 12") is None


def test_a_jetson_with_jetpack(tmp_path: Path, make_tool: Tool) -> None:
    write(tmp_path, "etc/nv_tegra_release", RELEASE)
    make_tool("dpkg-query", '[ "$3" = nvidia-jetpack ] && echo 6.2+b77')
    assert jetson.look_at_jetpack(tmp_path) == [
        Finding("ok", "Jetson", "Jetson Linux 36.4.3"),
        Finding("ok", "JetPack", "6.2+b77"),
    ]


def test_a_jetson_that_is_old_or_bare(tmp_path: Path, make_tool: Tool) -> None:
    write(tmp_path, "etc/nv_tegra_release", RELEASE.replace("R36", "R32"))
    make_tool("dpkg-query", "echo no packages found matching >&2; exit 1")
    found = jetson.look_at_jetpack(tmp_path)
    assert levels(found) == ["warning", "note"]
    assert "nvidia-jetpack" in found[1].fix
    write(tmp_path, "etc/nv_tegra_release", "# something else\n")
    assert levels(jetson.look_at_jetpack(tmp_path)) == ["note", "note"]


def test_another_machine_is_no_jetson(tmp_path: Path) -> None:
    assert jetson.look_at_jetpack(tmp_path) == [Finding("ok", "Jetson", "this machine is not one")]
    assert not is_jetson(tmp_path)


@pytest.mark.parametrize(
    ("script", "level", "found"),
    [
        ("printf 'NV Fan Mode:quiet\\nNV Power Mode: MAXN_SUPER\\n2\\n'", "ok", "MAXN_SUPER"),
        ("printf 'NV Power Mode: MODE_15W_2CORE\\n3\\n'", "note", "MODE_15W_2CORE: "),
        ("echo NVPM ERROR: cannot open", "note", "does not report it"),
        ("exit 3", "note", "does not report it"),
    ],
)
def test_the_power_mode(make_tool: Tool, script: str, level: str, found: str) -> None:
    make_tool("nvpmodel", script)
    findings = jetson.look_at_power_mode()
    assert levels(findings) == [level]
    assert found in findings[0].found


def test_clocks_that_are_held_free_or_hidden(make_tool: Tool) -> None:
    assert parse_free_clocks(HELD) == ()
    assert parse_free_clocks(FREE) == ("cpu0", "GPU", "EMC")
    assert parse_free_clocks("Error: Please run as root\n") is None
    for text, level in ((HELD, "ok"), (FREE, "warning"), ("must be root", "note")):
        make_tool("jetson_clocks", f"cat <<'END'\n{text}\nEND")
        assert levels(jetson.look_at_clocks()) == [level]
    make_tool("jetson_clocks", f"cat <<'END'\n{FREE}\nEND")
    assert "(cpu0, GPU, EMC)" in jetson.look_at_clocks()[0].found


@pytest.mark.parametrize(
    ("governors", "level"),
    [(["performance"] * 2, "ok"), (["performance", "schedutil"], "note"), ([], "ok")],
)
def test_the_governor(tmp_path: Path, governors: list[str], level: str) -> None:
    for number, name in enumerate(governors):
        write(tmp_path, f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor", f"{name}\n")
    assert levels(jetson.look_at_clocks(tmp_path)) == [level]


# ---- the machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free_kb", "level"), [(976_562, "warning"), (976_563, "ok"), (5_000_000, "ok"), (0, "warning")]
)
def test_memory(tmp_path: Path, free_kb: int, level: str) -> None:
    write(tmp_path, "proc/meminfo", MEMORY.format(free=free_kb))
    (found,) = machine.look_at_memory(tmp_path)
    assert levels([found]) == [level]
    assert "of 8.0 GB free" in found.found


@pytest.mark.parametrize(
    ("free", "level"),
    [(5_000_000_000, "ok"), (4_999_999_999, "warning"), (1_000_000_000, "warning"), (999_999_999, "problem")],
)
def test_disk_space(free: int, level: str) -> None:
    assert levels([machine.disk_finding(Path("/data"), 64_000_000_000, free)]) == [level]


def test_a_disk_is_reported_once() -> None:
    found = machine.look_at_disk()
    assert len(found) == len({Path("/").stat().st_dev, Path.cwd().stat().st_dev})


@pytest.mark.parametrize(
    ("text", "level"),
    [("212992\n", "warning"), ("3999999\n", "warning"), ("4000000\n", "ok"), ("", "note"), ("-1", "note")],
)
def test_the_receive_buffer(tmp_path: Path, text: str, level: str) -> None:
    write(tmp_path, "proc/sys/net/core/rmem_max", text)
    found = machine.look_at_receive_buffer(tmp_path)
    assert levels(found) == [level]
    assert level == "ok" or "sysctl -w net.core.rmem_max=33554432" in found[0].fix


@pytest.mark.parametrize(
    ("timedatectl", "chrony", "expected"),
    [
        ("NTPSynchronized=yes\n", "", True),
        ("NTPSynchronized=no\n", "Leap status     : Normal\n", False),
        ("", "Reference ID    : 00000000 ()\nLeap status     : Not synchronised\n", False),
        ("", "Stratum         : 3\nLeap status     : Normal\n", True),
        ("Timezone=UTC\n", "506 Cannot talk to daemon\n", None),
    ],
)
def test_synchronised_time(timedatectl: str, chrony: str, expected: bool | None) -> None:
    assert machine.parse_synchronised(timedatectl, chrony) is expected


def test_time_is_asked_of_timedatectl_and_else_of_chrony(make_tool: Tool) -> None:
    make_tool("timedatectl", "exit 1")
    make_tool("chronyc", "echo 'Leap status     : Normal'")
    assert levels(machine.look_at_time()) == ["ok"]
    make_tool("chronyc", "exit 1")
    assert levels(machine.look_at_time()) == ["note"]
    make_tool("timedatectl", '[ "$*" = "show --property=NTPSynchronized" ] && echo NTPSynchronized=no')
    assert levels(machine.look_at_time()) == ["warning"]


def test_gpio_chips_and_the_rights_on_them(tmp_path: Path) -> None:
    assert levels(machine.look_at_gpio(tmp_path)) == ["note"]
    write(tmp_path, "dev/gpiochip0", "")
    assert machine.look_at_gpio(tmp_path) == [Finding("ok", "GPIO", str(tmp_path / "dev/gpiochip0"))]
    chips = [machine.Chip("/dev/gpiochip0", True, "gpio"), machine.Chip("/dev/gpiochip1", False, "gpio")]
    locked = machine.gpio_finding(chips)
    assert levels([locked]) == ["warning"]
    assert (locked.found, "usermod -aG gpio" in locked.fix) == ("no rights on /dev/gpiochip1", True)
    assert "udev" in machine.gpio_finding([machine.Chip("/dev/gpiochip0", False, "root")]).fix


# ---- software and cameras ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gstreamer", "v4l2", "level", "found"),
    [
        ("YES (1.20.3)", "YES (linux/videodev2.h)", "ok", "4.8.0 with GStreamer and V4L2"),
        ("NO", "YES (linux/videodev2.h)", "note", "4.8.0 without GStreamer"),
        ("NO", "NO", "note", "4.8.0 without GStreamer and V4L2"),
    ],
)
def test_how_opencv_was_built(gstreamer: str, v4l2: str, level: str, found: str) -> None:
    reported = software.opencv_finding("4.8.0", BUILD.format(gstreamer=gstreamer, v4l2=v4l2))
    assert levels([reported]) == [level]
    assert reported.found == found


def test_this_opencv_tells_how_it_was_built() -> None:
    assert set(software.parse_build(cv2.getBuildInformation())) == {"GStreamer", "V4L2"}


def test_the_packages_of_the_line_are_those_of_the_extra() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    section = re.search(r"^line = \[$(.*?)^\]$", pyproject, re.MULTILINE | re.DOTALL)
    assert section
    extra = re.findall(r'"(.+)"', section[1])
    assert sorted(f"{one.name}>={one.oldest}" for one in software.LINE_PACKAGES) == extra
    for one in software.PLC_PACKAGES:
        assert f'\n{one.extra} = ["{one.name}>={one.oldest}"]\n' in pyproject
        assert f".[{one.extra}]" in software.package_finding(one, None).fix


@pytest.mark.parametrize(
    ("version", "level"),
    [("3.8.0", "ok"), ("3.10.1", "ok"), ("4.0.0.dev1", "ok"), ("3.7.4", "warning"), (None, "note")],
)
def test_versions_of_packages(version: str | None, level: str) -> None:
    assert levels([software.package_finding(software.LINE_PACKAGES[0], version)]) == [level]


def test_tensorrt_matters_more_on_a_jetson() -> None:
    assert levels([software.tensorrt_finding(["no TensorRT"], jetson=False)]) == ["note"]
    on_jetson = software.tensorrt_finding(["no TensorRT"], jetson=True)
    assert levels([on_jetson]) == ["warning"]
    assert "--system-site-packages" in on_jetson.fix


def test_csi_cameras_are_missed_on_a_jetson_only() -> None:
    found = [cameras.csi_finding(there=there, jetson=True) for there in (True, False)]
    assert levels([*found, cameras.csi_finding(there=False, jetson=False)]) == ["ok", "warning", "ok"]


def test_cameras_found_locked_or_none() -> None:
    assert levels(cameras.cameras_findings([], [])) == ["note"]
    assert cameras.cameras_findings(["/dev/video0"], [])[0].found == "/dev/video0"
    assert levels(cameras.cameras_findings(["/dev/video0"], ["/dev/video0"])) == ["warning"]


def test_video_devices_are_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(opening, "list_cameras", raising=False)
    write(tmp_path, "dev/video0", "")
    (found,) = cameras.look_at_cameras(tmp_path)
    assert found.level == "ok"
    assert str(tmp_path / "dev/video0") in found.found


# ---- asking ------------------------------------------------------------------------------------------------


def test_a_program_that_is_missing_fails_or_babbles(make_tool: Tool) -> None:
    assert ask("no-such-program-here") is None
    make_tool("fails", "echo half; exit 1")
    assert ask("fails") is None
    make_tool("babbles", "printf '\\377\\376ok'")
    assert ask("babbles") == "\ufffd\ufffdok"


def test_a_program_that_hangs(make_tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_TOOL_S", 0.2)
    make_tool("hangs", "exec sleep 60")
    assert ask("hangs") is None


def test_the_current_folder_is_no_place_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvpmodel").write_text("#!/bin/sh\n")
    (tmp_path / "nvpmodel").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert tool("nvpmodel") != "nvpmodel"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert read(tmp_path / "none") is None
    assert read(tmp_path) is None


def test_sizes_in_words() -> None:
    assert [size(count) for count in (0, 999, 1e3, 2.5e9, 3e12)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "2.5 GB",
        "3.0 TB",
    ]


@given(
    st.text()
    | st.from_regex(r"(MemTotal: +\d+ kB\n|cpu0: .*MinFreq=\d+ MaxFreq=\d+\n|# R\d+ \(release\).*)*")
)
def test_no_text_is_too_strange(text: str) -> None:
    for found in (
        machine.memory_finding(text),
        machine.receive_finding(text),
        machine.time_finding(machine.parse_synchronised(text, text)),
        jetson.governor_finding(text.splitlines()),
        software.opencv_finding("5.0", text),
        software.package_finding(software.LINE_PACKAGES[0], text),
    ):
        levels([found])
    parse_release(text)
    parse_power_mode(text)
    parse_free_clocks(text)


def device(capability: str, *, integrated: bool = False) -> Device:
    return Device(0, "GPU", capability, "13.0", integrated=integrated, memory_bytes=1 << 33)


@pytest.mark.parametrize(
    ("gpu", "jetson", "installed", "level", "words", "fix"),
    [
        (None, False, {"cpu"}, "ok", "ONNX Runtime or OpenVINO", ""),
        (None, False, set(), "note", "no usable NVIDIA GPU", ".[cpu]"),
        (None, True, {"cpu"}, "warning", "TensorRT, but the GPU is not usable", "nvidia-jetpack"),
        (device("8.9"), False, {"rtx"}, "ok", "TensorRT for RTX or TensorRT", ""),
        (device("8.9"), False, {"cpu"}, "note", "TensorRT for RTX or TensorRT", ".[rtx]"),
        (device("9.0"), False, {"rtx"}, "note", "neither Jetsons nor data-centre GPUs", ".[tensorrt]"),
        (device("8.7", integrated=True), True, {"tensorrt"}, "ok", "TensorRT, for GPU", ""),
        (device("8.7", integrated=True), True, set(), "warning", "TensorRT, for GPU", "nvidia-jetpack"),
    ],
)
def test_which_engine_fits(
    gpu: Device | None, jetson: bool, installed: set[str], level: str, words: str, fix: str
) -> None:
    finding = software.fit_finding(gpu, jetson=jetson, installed=installed)
    assert (finding.level, finding.what) == (level, "best engine")
    assert words in finding.found
    assert (fix in finding.fix) if fix else not finding.fix
