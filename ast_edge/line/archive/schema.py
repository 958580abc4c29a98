"""The index on disk: its tables, its version, and the handling of damaged and foreign files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

from ast_edge.errors import LineError, sentence

INDEX = "index.sqlite"
APPLICATION_ID = 0x41535445  # "ASTE"
VERSION = 1
_ASIDE = 9  # maximum number of damaged indices kept
_TABLES = (
    # One row: how long the archive has run, and the system time then.
    """CREATE TABLE archive (one INTEGER PRIMARY KEY CHECK (one = 1), archive_s REAL NOT NULL,
    wall_s REAL NOT NULL)""",
    # `ended` is NULL while the run lasts and if it was killed; `parts` were handed over, `lost` of them have
    # no row.
    """CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, station TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, parts INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE parts (id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES runs(id),
    number INTEGER NOT NULL, archive_s REAL NOT NULL, time REAL NOT NULL, external_id TEXT, encoder INTEGER,
    trigger TEXT NOT NULL, recipe TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, score REAL,
    threshold REAL, latency_ms REAL, source TEXT NOT NULL, picture_state TEXT NOT NULL, picture TEXT,
    overlay TEXT, depth TEXT, json TEXT, bytes INTEGER NOT NULL DEFAULT 0, UNIQUE (run_id, number))""",
    "CREATE INDEX parts_time ON parts (time)",
    "CREATE INDEX parts_bad ON parts (time) WHERE verdict <> 'pass'",
    "CREATE INDEX parts_external ON parts (external_id) WHERE external_id IS NOT NULL",
    "CREATE INDEX parts_kept ON parts (verdict = 'pass', id) WHERE picture_state = 'kept'",
    "CREATE INDEX parts_waiting ON parts (id) WHERE picture_state = 'waiting'",
)
_NAMES = {statement.split()[2] for statement in _TABLES}
Kind = Literal["ours", "empty", "damaged", "foreign", "newer"]


def connect(path: Path, sync: Literal["full", "normal"]) -> tuple[sqlite3.Connection, str | None]:
    """Open the index for writing; create it if missing, and move a damaged or foreign one aside first.

    The second value describes what was moved where. Raises sqlite3.Error or OSError while the disk does not
    allow opening anything.
    """
    moved = None
    kind = look(path)
    if kind not in {"ours", "empty"}:
        moved = f"the index was {kind} and was moved to {move_aside(path).name}; a new one was created"
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        _settle(connection, sync)
    except BaseException:
        connection.close()
        raise
    return connection, moved


def look(path: Path) -> Kind:
    """Classify the file, reading all of it. Raises sqlite3.OperationalError when it cannot be read."""
    if not path.exists():
        return "empty"
    try:
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as connection:
            return _kind(connection)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:
        if is_damage(exc):
            return "damaged"
        raise


def _kind(connection: sqlite3.Connection) -> Kind:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not names:
        return "empty"
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        return "foreign"
    if version > VERSION:
        return "newer"
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "ours" if found == "ok" and names >= _NAMES else "damaged"


def is_damage(exc: Exception) -> bool:
    """Whether the error means that the file itself is damaged; transient errors have other classes.

    Damaged text reaches Python as a UnicodeDecodeError: the archive only writes valid UTF-8.
    """
    return type(exc) is sqlite3.DatabaseError or isinstance(exc, UnicodeDecodeError)


def move_aside(path: Path) -> Path:
    """Rename the index and its log to a name beside it; the oldest is removed if there are too many."""
    names = [path.with_name(f"{path.name}.aside-{n}") for n in range(1, _ASIDE + 1)]
    free = [name for name in names if not name.exists()]
    target = free[0] if free else min(names, key=lambda name: name.stat().st_mtime)
    for suffix in ("-wal", "-shm", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.replace(target.with_name(target.name + suffix))
    return target


def _settle(connection: sqlite3.Connection, sync: Literal["full", "normal"]) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError(f"the file system supports no write-ahead log (mode {mode})")
    connection.execute(f"PRAGMA synchronous = {sync.upper()}")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("INSERT INTO archive VALUES (1, 0, 0)")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """Open the index of an archive read-only, also while a station writes it.

    Raises LineError when there is no index, or it is damaged or newer than this version.
    """
    path = folder / INDEX
    if not path.is_file():
        raise LineError(f"{folder}: there is no {INDEX} in it; give the folder of an archive.")
    try:
        return _checked(_connect_read_only(path), path)
    except sqlite3.OperationalError as exc:
        raise LineError(
            f"{path}: the index cannot be read ({sentence(exc)}); check the permissions of the folder."
        ) from exc
    except sqlite3.DatabaseError as exc:
        raise LineError(
            f"{path}: the index is damaged ({sentence(exc)}); the station moves it aside when it starts."
        ) from exc


def _connect_read_only(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=5.0)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{INDEX}-wal").exists():
            raise
        # A read-only folder, in which no station writes: SQLite cannot create its log, and needs none.
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, timeout=5.0)
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    connection.row_factory = sqlite3.Row
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except BaseException:
        connection.close()
        raise
    if application == APPLICATION_ID and version == VERSION:
        return connection
    connection.close()
    if application != APPLICATION_ID:
        raise LineError(f"{path}: is not the index of an archive; give the folder of an archive.")
    raise LineError(f"{path}: the index has version {version}, expected {VERSION}; update ast-edge.")
