"""Files: complete or absent, with the user's mode; caches in the first usable place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ast_edge import files
from ast_edge.errors import UsageError
from ast_edge.files import atomic_path, cache_root, part_sha256, printable, write_text
from tests.paths import ROOT


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_gets_what_the_umask_leaves(tmp_path: Path, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "new", "x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == expected


def test_a_file_that_is_replaced_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text("old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 54321, 54322)
    before = path.stat()
    write_text(path, "new")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert path.read_text() == "new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / "model.1"
    target.write_text("old")
    link = tmp_path / "current"
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["model.1"]


def test_an_error_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(OSError, match="kept") as caught, atomic_path(path):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    threads = [threading.Thread(target=write_text, args=(tmp_path / "one", str(n) * 1000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set((tmp_path / "one").read_text())) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_not_utf_8_is_shown_as_an_escape() -> None:
    assert printable(Path(os.fsdecode(b"T\xfcr.png"))) == "T\\xfcr.png"
    assert printable(Path("Tür.png")) == "Tür.png"


def test_a_part_is_known_by_its_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (tmp_path / name for name in "abc")
    assert part_sha256([a]) == part_sha256([b]) != part_sha256([c])
    assert part_sha256([a, c]) != part_sha256([c, a])


@pytest.mark.parametrize("home", [None, "/proc/nothing", "/dev/null"])
def test_without_a_home_the_cache_is_a_folder_of_ones_own(tmp_path: Path, home: str | None) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    tmp_path.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"}  # noqa: S108
    environment |= {} if home is None else {"HOME": home}
    script = "import os, ast_edge.files as f; os.setuid(54323);print(f.cache_root()); print(f.cache_root())"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder,) = set(done.stdout.splitlines())
    try:
        assert mode(Path(folder)) == 0o700
        (said,) = done.stderr.splitlines()
        assert folder in said
        assert "AST_EDGE_CACHE" in said
    finally:
        Path(folder).rmdir()


def test_a_folder_prepared_by_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AST_EDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files._temporary_cache.cache_clear()
    (tmp_path / f"ast-edge-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"ast-edge-{os.getuid()}").chmod(0o777)
    with pytest.raises(UsageError, match="is not private to this user; set AST_EDGE_CACHE"):
        cache_root()
