"""The run folder while a process trains in it: locked, and gone again where the run never began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ast_edge.errors import RunError, UsageError, reason
from ast_edge.files import claim, remove_leftovers
from ast_edge.train.run import Run


@contextmanager
def claimed(run: Run) -> Iterator[None]:
    """The run folder, locked. RunError while another process trains in it."""
    try:
        lock = claim(run.lock_file)
    except BlockingIOError as exc:
        raise RunError(
            f"{run.path}: another process is training in this folder; wait for it or name another folder."
        ) from exc
    except OSError as exc:
        raise UsageError(f"{run.path}: cannot become a run folder ({reason(exc)}); name another.") from exc
    with lock:
        yield


@contextmanager
def new_folder(run: Run) -> Iterator[None]:
    """The folder of a new run, locked; what was written is removed where the run does not get to training."""
    made = [path for path in (run.path, *run.path.parents) if not path.exists()]
    with claimed(run):
        if run.started:
            raise already_there(run)
        remove_leftovers(run.path)
        try:
            yield
        except BaseException:
            if not run.started:
                _discard(run, made)
            raise


def _discard(run: Run, made: Sequence[Path]) -> None:
    with suppress(OSError):
        for path in (run.log, run.trunk_file, run.lock_file):
            path.unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


def already_there(run: Run) -> UsageError:
    """The error of a run folder that holds a run."""
    return UsageError(f"{run.path}: already holds a run; continue it with --resume or name another folder.")
