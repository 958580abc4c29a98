"""The commands `ast-edge archive list|show|export|append`: the parts that a station archived."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ast_edge.cli.help import App
from ast_edge.cli.runtime import JsonOption
from ast_edge.cli.saying import echo
from ast_edge.errors import UsageError
from ast_edge.wording import one_line

if TYPE_CHECKING:
    from ast_edge.line.archive.reading import Query
    from ast_edge.line.tables.append import Table

ArchiveArgument = Annotated[
    Path, typer.Argument(metavar="ARCHIVE", help="Archive folder; a station may be writing to it.")
]
VerdictOption = Annotated[
    list[str] | None,
    typer.Option("--verdict", metavar="VERDICT", help="pass, reject or fault; may be given more than once."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Start time: 2025-06-01T08:30 (UTC), or 90m, 8h, 2d ago."),
]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="End time, in the same format.")]
RecipeOption = Annotated[str | None, typer.Option(metavar="NAME", help="Only parts of this recipe.")]
RunOption = Annotated[str | None, typer.Option(metavar="RUN", help="Only parts of this run of the station.")]
IdOption = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Only the part with this id from its trigger.")
]
PictureOption = Annotated[
    bool, typer.Option("--with-picture", help="Only parts whose picture is in the archive.")
]
LimitOption = Annotated[
    int, typer.Option(metavar="N", min=1, max=100_000, help="Maximum number of parts; the newest are kept.")
]
_NAMED = 5  # missing files named on the terminal
_VERDICTS = ("pass", "reject", "fault")
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def register(app: typer.Typer) -> None:
    """Add the commands about archives to `app`."""
    archive = App(help="Inspect and export the parts that a station archived.")
    archive.command("list")(list_parts)
    archive.command()(show)
    archive.command()(export)
    archive.command()(append)
    app.add_typer(archive, name="archive")


def list_parts(
    archive: ArchiveArgument,
    verdict: VerdictOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    recipe: RecipeOption = None,
    run: RunOption = None,
    external_id: IdOption = None,
    with_picture: PictureOption = False,
    limit: LimitOption = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per part and line.")] = False,
) -> None:
    """List parts, newest first: time (UTC), verdict, score, part id, id, recipe, reason."""
    from ast_edge.cli.archive_text import part_json, parts_table
    from ast_edge.line.archive.reading import ArchiveReader

    query = query_of(verdict, since, until, recipe, run, external_id, with_picture=with_picture)
    with ArchiveReader(archive) as reader:
        parts = reader.newest(query, limit)
        total = len(parts) if len(parts) < limit else reader.count(query)
    for line in map(part_json, parts) if as_json else parts_table(parts):
        echo(line)
    echo(f"{len(parts)} of {total} parts", err=True)


def show(
    archive: ArchiveArgument,
    part_id: Annotated[str, typer.Argument(metavar="PART", help="Part id, as `archive list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Show the record of one part and the paths of its files."""
    from ast_edge.cli.archive_text import whole_part_json, whole_part_text
    from ast_edge.line.archive.reading import ArchiveReader

    with ArchiveReader(archive) as reader:
        part = reader.get(part_id)
    echo((whole_part_json if as_json else whole_part_text)(archive, part))


def export(
    archive: ArchiveArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder, or an empty one.")],
    verdict: VerdictOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    recipe: RecipeOption = None,
    run: RunOption = None,
    external_id: IdOption = None,
    with_picture: PictureOption = False,
    limit: LimitOption = 10_000,
    overlays: Annotated[bool, typer.Option("--overlays", help="Copy the overlays too.")] = False,
) -> None:
    """Copy parts into a data folder for train, calibrate and inspect, and, once reviewed, for evaluate.

    Parts that passed go to train/good, rejects to test/reject, faults, which were not judged, to unjudged:
    review them before training. To evaluate, move some good parts to test/good. parts.csv lists every part.
    The archive is not changed. Pictures that its limits have removed in the meantime are counted and listed
    in missing.csv.
    """
    from ast_edge.cli.archive_text import MISSING, export_parts
    from ast_edge.line.archive.reading import ArchiveReader

    query = query_of(verdict, since, until, recipe, run, external_id, with_picture=with_picture)
    with ArchiveReader(archive) as reader:
        parts = reader.newest(query, limit)
        total = len(parts) if len(parts) < limit else reader.count(query)
    exported = export_parts(archive, parts[::-1], folder, overlays=overlays)
    echo(f"{exported.parts} of {total} parts, {exported.files} files, in {folder}")
    if exported.gone:
        named = ", ".join(f"{kind} of {part_id}" for part_id, kind in exported.gone[:_NAMED])
        more = f" and {len(exported.gone) - _NAMED} more" if len(exported.gone) > _NAMED else ""
        said = f"files no longer in the archive: {len(exported.gone)} ({named}{more})"
        echo(f"{said}, listed in {folder / MISSING}", err=True)


def append(
    archive: ArchiveArgument,
    destination: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="PARTS.csv, PARTS.parquet (a folder), or the URL of a database: sqlite:///mes.db, "
            "postgresql+psycopg://user@host/name.",
        ),
    ],
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Table of the database; parts by default.")
    ] = None,
) -> None:
    """Append the parts that a table does not have yet: for an MES, a spreadsheet or statistics.

    Run it as often as wanted, also while the station writes: each part is appended once. A kill leaves whole
    parts. The archive is not changed.
    """
    from ast_edge.line.archive.reading import ArchiveReader
    from ast_edge.line.tables.append import append_new

    with ArchiveReader(archive) as reader, closing(_table(destination, table)) as opened:
        appended = append_new(reader, opened)
    if appended.lost_after is not None:
        echo(
            f"the archive no longer has {one_line(appended.lost_after)}, the last part in the table: it may "
            "have removed parts that were never appended; append more often, or raise the archive's limits",
            err=True,
        )
    echo(f"{appended.parts} parts appended")


def _table(destination: str, name: str | None) -> Table:
    """Open what the user named. Raises UsageError if it is none of the three."""
    if "://" in destination:
        from ast_edge.line.tables.database import DatabaseTable

        return DatabaseTable(destination, "parts" if name is None else name)
    if name is not None:
        raise UsageError(f"--table {name}: is for a database; {destination} is none.")
    path = Path(destination)
    if path.suffix == ".csv":
        from ast_edge.line.tables.csv_file import CsvFile

        return CsvFile(path)
    if path.suffix == ".parquet":
        from ast_edge.line.tables.parquet import ParquetFolder

        return ParquetFolder(path)
    raise UsageError(
        f"{destination}: expected a name that ends with .csv or .parquet, or the URL of a database such as "
        "sqlite:///mes.db."
    )


def query_of(
    verdicts: list[str] | None,
    since: str | None,
    until: str | None,
    recipe: str | None,
    run: str | None,
    external_id: str | None,
    *,
    with_picture: bool,
) -> Query:
    """Return the filter that the options describe. UsageError for a verdict or time that is none."""
    from ast_edge.line.archive.reading import Query

    for verdict in verdicts or ():
        if verdict not in _VERDICTS:
            raise UsageError(f"--verdict {verdict!r}: expected one of {', '.join(_VERDICTS)}.")
    return Query(
        tuple(verdicts or ()),
        _time(since, "--since"),
        _time(until, "--until"),
        recipe,
        run,
        external_id,
        with_picture,
    )


def _time(text: str | None, option: str) -> float | None:
    """Parse seconds since the epoch. Raises UsageError if the text is not a time."""
    if text is None:
        return None
    now = datetime.now(timezone.utc)
    if ago := _AGO.fullmatch(text):
        return now.timestamp() - float(ago[1]) * _SECONDS[ago[2]]
    try:
        moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise UsageError(
            f"{option} {text!r}: expected a time as 2025-06-01, 2025-06-01T08:30+02:00, or 90m, 8h, 2d ago."
        ) from exc
