"""Pinned versions: none with a known vulnerability, and files by digest."""

from __future__ import annotations

import re
import runpy
import sys
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser under its earlier name
    import tomli as tomllib

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# The first version without it, and the hole: what reads files that others made.
HOLES = {
    "pillow": ("12.3", "memory safety of 12.2 and CVE-2026-42309, CVE-2026-25990, CVE-2025-48379"),
    "opencv-python-headless": ("4.12", "CVE-2025-53644, CVE-2023-4863"),
    "torch": ("2.11", "CVE-2026-4538, CVE-2026-24747, CVE-2025-32434"),
    "onnx": ("1.21", "CVE-2026-27489, CVE-2026-34445 to 34447, CVE-2025-51480"),
    "scikit-learn": ("1.5", "CVE-2024-5206"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
}


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for lines in (PROJECT["dependencies"], *extras) for line in lines]


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", HOLES)
def test_no_version_with_a_known_hole_is_let_in(name: str) -> None:
    first, why = HOLES[name]
    found = [one for one in requirements() if one.name == name]
    assert found
    for one in found:
        (bound,) = one.specifier
        assert bound.operator == ">="
        assert Version(bound.version) >= Version(first), why


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    for line in entries:
        assert re.fullmatch(r"[a-z0-9.-]+==[^ ]+ --hash=sha256:[0-9a-f]{64}", line), line
    return dict(line.split(" ")[0].split("==") for line in entries)


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    environment = {"python_version": "3.11"}
    known = {
        pin.name.lower(): str(pin.specifier).removeprefix("==")
        for pin in pins()
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    for name, version in locked().items():
        assert version == known[name], name


@pytest.mark.parametrize("extra", ["", "cpu", "train", "line"])
def test_the_lock_has_everything_that_is_declared(extra: str) -> None:
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    wanted = [Requirement(line) for line in lines]
    names = {
        one.name.lower()
        for one in wanted
        if one.marker is None or one.marker.evaluate({"python_version": "3.11"})
    }
    assert names <= set(locked())


def test_every_install_of_the_documentation_has_pinned_versions() -> None:
    pages = [ROOT / "README.md", ROOT / "cpp_bridge" / "README.md", *(ROOT / "docs").rglob("*.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    commands = [
        line for line in lines if re.match(r"(?!- ).*\bpip (install|wheel) ", line) and "`pip" not in line
    ]
    assert len(commands) >= 6
    assert [line for line in commands if not re.search(r" -c \S*constraints\S*\.txt ", line)] == []


def test_a_file_without_a_digest_is_not_locked() -> None:
    lock_text = runpy.run_path(str(ROOT / ".ci" / "lock"))["lock_text"]
    environment = {"python_version": "3.11", "sys_platform": "linux", "platform_machine": "x86_64"}
    whole = {
        "metadata": {"name": "Some_Package", "version": "1.2"},
        "download_info": {"archive_info": {"hashes": {"sha256": "0" * 64}}},
    }
    own = {"metadata": {"name": "ast-edge", "version": "1"}, "download_info": {"dir_info": {}}}
    text = lock_text({"environment": environment, "install": [own, whole]})
    assert text.splitlines()[-1] == f"some-package==1.2 --hash=sha256:{'0' * 64}"
    assert "ast-edge==" not in text
    whole["download_info"] = {"archive_info": {}}
    with pytest.raises(ValueError, match=r"Some_Package 1\.2: pip gives no SHA-256"):
        lock_text({"environment": environment, "install": [whole]})
