"""What is inspected: a recipe is a name and a model; the next one is opened and proven before it is taken."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ast_edge.backends import open_backend
from ast_edge.errors import AstEdgeError, LineError, ParityError, UsageError
from ast_edge.inspector import Inspector
from ast_edge.line.events import Told
from ast_edge.manifest import Manifest
from ast_edge.references import SCORE_TOLERANCE, load_references, prove


@dataclass(frozen=True, eq=False)
class Recipe:
    """A model that was opened and proven on this machine."""

    name: str
    inspector: Inspector


def describe(recipe: Recipe) -> dict[str, object]:
    """What decides with this recipe: model, threshold and its revision, engine."""
    spec = recipe.inspector.spec
    return {
        "recipe": recipe.name,
        "model": spec.model_id if isinstance(spec, Manifest) else None,
        "threshold": spec.threshold.value,
        "revision": spec.calibration.revision if spec.calibration is not None else None,
        "engine": recipe.inspector.engine,
    }


def open_recipe(name: str, model: Path, *, threads: int | None = None) -> Recipe:
    """Open a model or engine and prove it on its reference vectors.

    Raises ModelError or BackendError when it cannot be opened, ParityError when it does not give its scores.
    """
    file, backend = open_backend(model, threads=threads)
    try:
        references, _ = load_references(file)
        parity = prove(backend, references, file.manifest, SCORE_TOLERANCE[file.manifest.precision])
    except BaseException:
        backend.close()
        raise
    if not parity.ok:
        backend.close()
        raise ParityError(
            f"{model}: {backend.name} does not reproduce the reference vectors (relative score error "
            f"{parity.max_relative_score_error:.2g}, {parity.flipped_verdicts} of {parity.count} verdicts "
            "differ); the recipe was not taken: export or build the model again."
        )
    return Recipe(name, Inspector(file.manifest, backend))


class Recipes:
    """The recipe in force, the one before it, and the change between two parts.

    `take()` is called by the inspecting thread between parts; everything else may come from any thread.
    `told` hears of every change: what happened, and details.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        first: Recipe,
        told: Told,
        *,
        threads: int | None = None,
    ) -> None:
        self._models = dict(models)
        self._told = told
        self._threads = threads
        self._lock = threading.Lock()
        self._current = first
        self._before: Recipe | None = None
        self._next: Recipe | None = None
        self._opening: threading.Thread | None = None
        self.last_error = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every recipe that can be asked for."""
        return tuple(sorted(self._models))

    @property
    def current(self) -> Recipe:
        """The recipe in force."""
        with self._lock:
            return self._current

    def request(self, name: str) -> None:
        """Open and prove recipe `name` in the background; it is taken at the next part boundary after that.

        The file is read again, also where the recipe is in force already: a model that was calibrated anew.
        Raises UsageError for a name that there is not, LineError while another change is under way.
        """
        if name not in self._models:
            raise UsageError(f"recipe {name!r}: there is none; known: {', '.join(sorted(self._models))}.")
        with self._lock:
            if self._opening is not None and self._opening.is_alive():
                raise LineError(f"recipe {name!r}: another change is under way; ask again when it is done.")
            self._opening = threading.Thread(target=self._open, args=(name,), name="ast-edge-recipe")
            self._opening.start()

    def rollback(self) -> str:
        """Take the recipe before the one in force again, which is still open; its name.

        Raises LineError where there is none.
        """
        with self._lock:
            if self._before is None:
                raise LineError("there is no recipe before this one to go back to; ask for one by its name.")
            replaced, self._next, self._before = self._next, self._before, None
            name = self._next.name
        if replaced is not None:
            replaced.inspector.close()
        return name

    def take(self) -> Recipe:
        """The recipe for the next part; the change happens here."""
        with self._lock:
            taken, replaced = self._next, None
            if taken is not None:
                replaced, self._before = self._before, self._current
                self._current, self._next = taken, None
            current = self._current
        if replaced is not None:
            # Letting go of an engine may take long; the next part does not wait for it.
            threading.Thread(target=replaced.inspector.close, name="ast-edge-recipe-close").start()
        if taken is not None:
            self._told("recipe", {"what": "taken", **describe(current)})
        return current

    def wait(self, timeout_s: float) -> bool:
        """Wait until no recipe is being opened."""
        opening = self._opening
        if opening is not None:
            opening.join(timeout_s)
        return opening is None or not opening.is_alive()

    def close(self) -> None:
        """Close every model that is open."""
        if self._opening is not None:
            self._opening.join()
        with self._lock:
            kept = {id(recipe): recipe for recipe in (self._current, self._before, self._next) if recipe}
            self._before = self._next = None
        for recipe in kept.values():
            recipe.inspector.close()

    def _open(self, name: str) -> None:
        try:
            opened = open_recipe(name, self._models[name], threads=self._threads)
        except AstEdgeError as exc:
            self.last_error = str(exc)
            self._told("recipe", {"what": "refused", "recipe": name, "error": str(exc)})
            return
        with self._lock:
            replaced, self._next = self._next, opened
        if replaced is not None:
            replaced.inspector.close()
