"""The run folder of a training process: locked, and removed again if the run never started training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ast_edge.errors import RunError, UsageError, reason
from ast_edge.files import claim, remove_leftovers
from ast_edge.train.run import Run


@contextmanager
def claimed(run: Run) -> Iterator[None]:
    """Lock the run folder. RunError while another process trains in it."""
    try:
        lock = claim(run.lock_file)
    except BlockingIOError as exc:
        raise RunError(
            f"{run.path}: another process is training in this folder; wait for it or give another folder."
        ) from exc
    except OSError as exc:
        raise UsageError(f"{run.path}: cannot become a run folder ({reason(exc)}); give another.") from exc
    with lock:
        yield


@contextmanager
def new_folder(run: Run) -> Iterator[None]:
    """Create and lock the folder of a new run; its files are removed if the run does not reach training."""
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
        for path in (run.log, run.trunk_file, run.other_trunk_file, run.lock_file):
            path.unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


def already_there(run: Run) -> UsageError:
    """Return the error for a folder that already contains a run."""
    return UsageError(f"{run.path}: already holds a run; continue it with --resume or give another folder.")
