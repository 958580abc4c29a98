"""Memory, disk, clock, network buffers and GPIO chips of this machine."""

from __future__ import annotations

import grp
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ast_edge.doctor.finding import Finding, size
from ast_edge.machine.asking import ROOT, ask, read

_MEMORY = re.compile(r"^(MemTotal|MemAvailable):\s*(\d{1,15}) kB$", re.MULTILINE)
_LEAST_MEMORY = 1e9
_LOW_DISK, _LEAST_DISK = 5e9, 1e9
# A frame of a GigE Vision camera arrives as a burst of thousands of packets.
_LEAST_RECEIVE = 4_000_000
_MORE_RECEIVE = 32 << 20


class Chip(NamedTuple):
    """A GPIO chip: its path, whether this user may use it, and the group that may."""

    path: str
    usable: bool
    group: str


def look_at_memory(root: Path = ROOT) -> list[Finding]:
    """Check main memory, which a Jetson shares with its GPU."""
    return [memory_finding(read(root / "proc/meminfo") or "")]


def memory_finding(text: str) -> Finding:
    """Return the finding for the text of /proc/meminfo."""
    found = {name: int(count) * 1024 for name, count in _MEMORY.findall(text)}
    if len(found) < 2:
        return Finding("note", "memory", "the kernel does not report it", "Query it with `free -h`.")
    words = f"{size(found['MemAvailable'])} of {size(found['MemTotal'])} free"
    if found["MemAvailable"] < _LEAST_MEMORY:
        return Finding(
            "warning", "memory", words, "Stop programs that the line does not need, or add memory."
        )
    return Finding("ok", "memory", words)


def look_at_disk() -> list[Finding]:
    """Check the system disk, and the disk of the current folder if it is another one."""
    places = [ROOT, Path.cwd()]
    if places[0].stat().st_dev == places[1].stat().st_dev:
        del places[1]
    return [disk_finding(place, *shutil.disk_usage(place)[::2]) for place in places]


def disk_finding(place: Path, total: int, free: int) -> Finding:
    """Return the finding for free space in bytes."""
    words = f"{size(free)} of {size(total)} free at {place}"
    if free >= _LOW_DISK:
        return Finding("ok", "disk", words)
    fix = "Free some space, or limit the archive with min_free_gb and keep_days in line.toml."
    return Finding("problem" if free < _LEAST_DISK else "warning", "disk", words, fix)


def look_at_time() -> list[Finding]:
    """Check whether the clock, which dates parts and log entries, is synchronised by the network."""
    shown = ask("timedatectl", "show", "--property=NTPSynchronized")
    tracking = None if shown else ask("chronyc", "-n", "tracking")
    return [time_finding(parse_synchronised(shown or "", tracking or ""))]


def parse_synchronised(timedatectl: str, chrony: str) -> bool | None:
    """Return what `timedatectl show`, or else `chronyc tracking`, reports; None if neither reports it."""
    if match := re.search(r"^NTPSynchronized=(yes|no)$", timedatectl, re.MULTILINE):
        return match[1] == "yes"
    if match := re.search(r"^Leap status\s*:\s*(\S.*)$", chrony, re.MULTILINE):
        return match[1].strip() != "Not synchronised"
    return None


def time_finding(synchronised: bool | None) -> Finding:  # noqa: FBT001 (the one thing it is about)
    """Return the finding for the state of the clock."""
    if synchronised:
        return Finding("ok", "time", "synchronised")
    if synchronised is None:
        fix = "Make sure that this machine or its host synchronises the clock (chrony, systemd-timesyncd)."
        return Finding("note", "time", "neither timedatectl nor chrony reports its state", fix)
    fix = "Switch it on with `sudo timedatectl set-ntp true`, with a time server that the line reaches."
    return Finding("warning", "time", "not synchronised: parts and log entries get wrong times", fix)


def look_at_receive_buffer(root: Path = ROOT) -> list[Finding]:
    """Check the largest receive buffer of a socket: packets that do not fit are lost."""
    return [receive_finding(read(root / "proc/sys/net/core/rmem_max") or "")]


def receive_finding(text: str) -> Finding:
    """Return the finding for net.core.rmem_max, which limits GigE Vision cameras."""
    what, fix = "network buffer", f"Enlarge it with `sudo sysctl -w net.core.rmem_max={_MORE_RECEIVE}`"
    if not re.fullmatch(r"\d{1,15}\s*", text):
        return Finding(
            "note", what, "net.core.rmem_max is not readable", f"{fix}, on the host of a container."
        )
    words = f"net.core.rmem_max is {int(text)} bytes"
    if int(text) >= _LEAST_RECEIVE:
        return Finding("ok", what, words)
    found = f"{words}, too small for GigE Vision cameras: frames arrive incomplete"
    return Finding("warning", what, found, f"{fix}, and add it to /etc/sysctl.d/ to keep it after a reboot.")


def look_at_gpio(root: Path = ROOT) -> list[Finding]:
    """Check the GPIO chips and the permissions of this user on them."""
    return [gpio_finding([_chip(path) for path in sorted((root / "dev").glob("gpiochip[0-9]*"))])]


def gpio_finding(chips: Sequence[Chip]) -> Finding:
    """Return the finding for the chips and the permissions on them."""
    if not chips:
        fix = "Wire trigger and gate to a PLC or a remote I/O (modbus, s7, ethernet-ip or mqtt in line.toml)."
        return Finding("note", "GPIO", "no chips", fix)
    locked = [chip for chip in chips if not chip.usable]
    if not locked:
        return Finding("ok", "GPIO", ", ".join(chip.path for chip in chips))
    fix = f"Add the user to the group with `sudo usermod -aG {locked[0].group} $USER` and log in again."
    if locked[0].group == "root":
        fix = 'Give the chips to a group by a udev rule (SUBSYSTEM=="gpio", GROUP="gpio", MODE="0660").'
    return Finding("warning", "GPIO", f"no rights on {', '.join(chip.path for chip in locked)}", fix)


def _chip(path: Path) -> Chip:
    number = path.stat().st_gid
    try:
        group = grp.getgrgid(number).gr_name
    except KeyError:
        group = str(number)
    return Chip(str(path), os.access(path, os.R_OK | os.W_OK), group)
