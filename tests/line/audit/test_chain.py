"""The proof of an audit log: every later change is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_edge.errors import LineError
from ast_edge.line.audit.chain import START, make_line, read_line, verify


def chain(count: int = 6) -> list[bytes]:
    """Lines of a log, each with its line feed."""
    lines, previous = [], START
    for n in range(1, count + 1):
        line, previous = make_line(n, 1.7e9 + n, "run", "operator", json.dumps({"asked": n * "x"}), previous)
        lines.append(line)
    return lines


def findings(tmp_path: Path, lines: list[bytes], head: str | None = None) -> list[str]:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(lines))
    return [finding.what for finding in verify(path, head).findings]


def test_a_good_log_is_good(tmp_path: Path) -> None:
    lines = chain()
    assert findings(tmp_path, lines) == []
    assert findings(tmp_path, lines, read_line(lines[3][:-1]).link) == []
    assert findings(tmp_path, []) == []


@pytest.mark.slow
@settings(max_examples=300)
@given(at=st.integers(0, len(b"".join(chain())) - 1), byte=st.integers(0, 255))
def test_any_change_of_a_byte_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    data = bytearray(b"".join(chain()))
    same = data[at] == byte
    data[at] = byte
    folder = tmp_path_factory.getbasetemp() / "changed"
    folder.mkdir(exist_ok=True)
    assert bool(findings(folder, [bytes(data)])) != same


@pytest.mark.slow
@settings(max_examples=200)
@given(st.data())
def test_lines_removed_moved_or_inserted_are_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = chain(7)
    how = data.draw(st.sampled_from(["remove", "swap", "repeat", "foreign"]))
    at = data.draw(st.integers(0, 5))
    if how == "remove":
        upto = data.draw(st.integers(at + 1, 6))
        changed = lines[:at] + lines[upto:]  # never the end, which no chain can see
    elif how == "swap":
        other = data.draw(st.integers(at + 1, 6))
        changed = list(lines)
        changed[at], changed[other] = changed[other], changed[at]
    elif how == "repeat":
        changed = [*lines[:at], lines[data.draw(st.integers(0, 6))], *lines[at:]]
    else:
        link = read_line(lines[at - 1][:-1]).link if at else START
        forged, _ = make_line(at + 1, 1.7e9, "run", "operator", "{}", link)
        changed = [*lines[:at], forged, *lines[at:]]
    folder = tmp_path_factory.getbasetemp() / "moved"
    folder.mkdir(exist_ok=True)
    assert findings(folder, changed), how


def test_an_end_that_was_cut_off_shows_against_a_noted_digest_alone(tmp_path: Path) -> None:
    lines = chain()
    noted = read_line(lines[5][:-1]).link
    assert findings(tmp_path, lines[:4]) == []
    assert "recorded digest is not in the log" in findings(tmp_path, lines[:4], noted)[0]
    # In the middle of a line it shows by itself.
    assert findings(tmp_path, [*lines[:4], lines[4][:-20]]) != []


def test_a_rewritten_log_is_found_only_by_a_noted_digest(tmp_path: Path) -> None:
    noted = read_line(chain()[5][:-1]).link
    lines, previous = [], START
    for n in range(1, 9):
        line, previous = make_line(n, 1.7e9 + n, "run", "operator", "{}", previous)
        lines.append(line)
    assert findings(tmp_path, lines) == []
    assert findings(tmp_path, lines, noted) != []


def test_a_line_that_was_replaced_by_a_good_one_is_found(tmp_path: Path) -> None:
    """Number, link and digest of the new line are right; the line after it names another."""
    lines = chain()
    forged, _ = make_line(3, 1.7e9, "run", "operator", "{}", read_line(lines[1][:-1]).link)
    changed = [*lines[:2], forged, *lines[3:]]
    assert findings(tmp_path, changed) == ["entry 4 does not follow the previous line"]


def test_numbers_that_run_back_are_found(tmp_path: Path) -> None:
    lines = chain(3)
    line, _ = make_line(2, 1.7e9, "run", "operator", "{}", read_line(lines[2][:-1]).link)
    assert findings(tmp_path, [*lines, line]) == ["entry 2 comes after entry 3: inserted or moved"]


def test_each_fault_is_named_once(tmp_path: Path) -> None:
    lines = chain()
    changed = lines[2].replace(b"xxx", b"xyx")
    assert findings(tmp_path, [*lines[:2], changed, *lines[3:]]) == [
        "entry 3 was changed: it does not match its own digest"
    ]
    assert findings(tmp_path, [lines[0], *lines[3:]]) == ["entries 2 to 3 are missing before entry 4"]
    assert findings(tmp_path, lines[1:]) == ["entry 1 is missing before entry 2"]


@given(st.binary(max_size=400))
def test_whatever_stands_in_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    assert bool(findings(folder, [data])) == bool(data)


def test_findings_are_bounded(tmp_path: Path) -> None:
    assert len(findings(tmp_path, [b"x\n"] * 5000)) == 100
    assert len(findings(tmp_path, [b"[" * 2_000_000])) > 1


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(LineError, match="there is no audit log"):
        verify(tmp_path / "log")
    with pytest.raises(LineError, match="there is no audit log"):
        verify(tmp_path / "nowhere" / "log")
