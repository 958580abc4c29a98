"""parts.jsonl after a kill, a full disk, and an editor."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ast_edge.errors import LineError
from ast_edge.line.collect.record import (
    CameraFacts,
    CollectedPart,
    GreyLevels,
    Record,
    TriggerFacts,
)
from tests.disks import small_disk
from tests.line.collect.bench import check_whole
from tests.paths import ROOT


def a_part(number: int, name: str = "E\u00fc") -> CollectedPart:
    return CollectedPart(
        number=number,
        label=None,
        picture=f"train/good/{number:06d}.png",
        depth=None,
        time="2026-01-01T00:00:00.000+00:00",
        trigger=TriggerFacts(run="run", number=number, source="timer", external_id=name),
        encoder=number * 100,
        camera=CameraFacts(
            uri="dir://a", frame=0, device_ns=None, colour="rgb", width=4, height=4, settings={"gain": 1.0}
        ),
        grey_levels=GreyLevels(brightness=90.0, contrast=12.0, saturated=0.0),
        sharpness=120.0,
        sha256="0" * 64,
    )


def written(path: Path, count: int) -> bytes:
    record = Record(path)
    for number in range(1, count + 1):
        record.append(a_part(number))
    record.close()
    return path.read_bytes()


def read(path: Path) -> list[CollectedPart]:
    record = Record(path)
    record.close()
    return record.parts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.floats(0, 1))
def test_cut_off_anywhere_the_whole_lines_stay(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "parts.jsonl"
    path.unlink(missing_ok=True)
    whole = written(path, 4)
    kept = whole[: int(cut * len(whole))]
    path.write_bytes(kept)
    found = read(path)
    # A last line that lacks only its end is whole.
    complete = sum(kept.startswith(b"".join(whole.splitlines(keepends=True)[:n])[:-1]) for n in range(1, 5))
    assert found == [a_part(number) for number in range(1, complete + 1)]
    record = Record(path)
    record.append(a_part(9))
    record.close()
    assert read(path) == [*found, a_part(9)]
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"mine", "is not a line of `ast-edge collect`"),
        (b'{"number": 1}', r"parts.jsonl:2: is not a line of `ast-edge collect` \(label is missing\)"),
        (b"\xff\xfe", "is not a line"),
    ],
)
def test_a_foreign_line_is_refused_and_left_alone(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "parts.jsonl"
    content = written(path, 1) + line + b"\n" + a_part(3).model_dump_json().encode() + b"\n"
    path.write_bytes(content)
    with pytest.raises(LineError, match=words):
        Record(path)
    assert path.read_bytes() == content


FILL = """
    import errno, sys
    from pathlib import Path
    from ast_edge.errors import LineError
    from ast_edge.line.collect.parts import Parts
    from tests.line.archive.bench import part

    parts = Parts(Path(sys.argv[1]), min_free_gb=0)
    try:
        for number in range(1, 1000):
            parts.add(part(number, side=100), "bench://", {})
    except LineError as exc:
        sys.stdout.write(str(exc))
    parts.close()
"""


@pytest.mark.slow
def test_a_disk_that_is_full_after_all_keeps_what_was_collected(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024) as disk:
        folder = disk / "parts"
        command = [sys.executable, "-c", textwrap.dedent(FILL), str(folder)]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert "No space left on device; what was collected is kept" in said
        parts = check_whole(folder)
        assert len(parts) > 10
        assert f"what was collected is kept, {len(parts)} parts: " in said
        (folder / parts[0].picture).unlink()
        (folder / parts[1].picture).unlink()
        assert (
            "No space left on device; what was collected is kept"
            in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        )
        again = check_whole_but(folder, 2)
        assert len(again) > len(parts)


def check_whole_but(folder: Path, removed: int) -> list[CollectedPart]:
    """The lines, of which the first `removed` have lost their pictures."""
    text = (folder / "parts.jsonl").read_text().splitlines(keepends=True)
    (folder / "parts.jsonl").write_text("".join(text[removed:]))
    return [CollectedPart.model_validate_json(one) for one in text[:removed]] + check_whole(folder)
