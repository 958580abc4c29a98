"""Recipes: a name and a model; the next one is opened and proven before it is taken."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ast_edge.backends import BackendName, Engine, open_backend
from ast_edge.backends.proof import SCORE_TOLERANCE, prove
from ast_edge.cameras.base import Frame
from ast_edge.errors import LineError, ParityError, UsageError, sentence
from ast_edge.inspector import Inspection, Inspector
from ast_edge.line.events import Report
from ast_edge.model.manifest import Manifest, Mode, ModelSpec
from ast_edge.model.references import load_references

_CLOSE_S = 2.0


@dataclass(frozen=True, eq=False)
class Recipe:
    """A model that was opened and proven on this machine."""

    name: str
    inspector: Inspector

    @property
    def mode(self) -> Mode:
        """Which inputs of a frame the model uses."""
        return self.inspector.spec.mode

    @property
    def threshold(self) -> float:
        """The threshold in force."""
        return self.inspector.spec.threshold.value

    @property
    def spec(self) -> ModelSpec:
        """The specification of the model."""
        return self.inspector.spec

    def inspect(self, frame: Frame) -> Inspection:
        """Inspect a camera's frame; errors as in `Inspector.inspect`."""
        depth = frame.depth_m if self.mode != "rgb" else None
        pixels = frame.pixels if self.mode != "depth" else None
        return self.inspector.inspect(pixels, colour=None if pixels is None else frame.colour, depth_m=depth)


def describe(recipe: Recipe) -> dict[str, object]:
    """Describe what determines verdicts with this recipe: model, threshold and its revision, engine."""
    spec = recipe.inspector.spec
    choice = recipe.inspector.engine_choice
    return {
        "recipe": recipe.name,
        "model": spec.model_id if isinstance(spec, Manifest) else None,
        "threshold": spec.threshold.value,
        "revision": spec.calibration.revision if spec.calibration is not None else None,
        "engine": recipe.inspector.engine,
        **({} if choice is None else {"engine_choice": choice}),
    }


def open_recipe(
    name: str, model: Path, *, threads: int | None = None, backend: BackendName | Engine | None = None
) -> Recipe:
    """Open a model or engine and prove it on its reference vectors.

    Raises ModelError or BackendError when it cannot be opened, ParityError when it does not reproduce its
    scores.
    """
    file, engine = open_backend(model, threads=threads, backend=backend)
    try:
        references, _ = load_references(file)
        parity = prove(engine, references, file.manifest, SCORE_TOLERANCE[file.manifest.precision])
    except BaseException:
        engine.close()
        raise
    if not parity.ok:
        engine.close()
        raise ParityError(
            f"{model}: {engine.name} does not reproduce the reference vectors (relative score error "
            f"{parity.max_relative_score_error:.2g}, {parity.flipped_verdicts} of {parity.count} verdicts "
            "differ); the recipe was not taken: export or build the model again."
        )
    return Recipe(name, Inspector(file.manifest, engine))


class Recipes:
    """The recipe in force, the previous one, and changes between two parts.

    `take()` is called by the inspecting thread between parts; other methods may be called from any thread.
    `report` is called with every change and its details.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        first: Recipe,
        report: Report,
        *,
        threads: int | None = None,
        backend: BackendName | Engine | None = None,
    ) -> None:
        self._models = dict(models)
        self._report = report
        self._threads, self._backend = threads, backend
        self._lock = threading.Lock()
        self._current = first
        self._before: Recipe | None = None
        self._next: Recipe | None = None
        self._opening: threading.Thread | None = None
        self._asked = 0  # requested changes; an older one that is ready late is closed
        self.last_error = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all recipes."""
        return tuple(sorted(self._models))

    @property
    def current(self) -> Recipe:
        """The recipe in force."""
        with self._lock:
            return self._current

    def request(self, name: str) -> None:
        """Open and prove recipe `name` in the background; it is taken at the next part boundary after that.

        The file is read again, even if the recipe is already in force, to pick up a recalibrated model.
        Raises UsageError for an unknown name, LineError while another change is in progress.
        """
        if name not in self._models:
            raise UsageError(f"recipe {name!r}: unknown; known: {', '.join(sorted(self._models))}.")
        with self._lock:
            if self._opening is not None and self._opening.is_alive():
                raise LineError(f"recipe {name!r}: another change is in progress; try again when it is done.")
            self._asked += 1
            self._opening = threading.Thread(
                target=self._open, args=(name, self._asked), name="ast-edge-recipe", daemon=True
            )
            self._opening.start()

    def rollback(self) -> str:
        """Take the previous recipe again, which is still open; return its name.

        Raises LineError if there is none.
        """
        with self._lock:
            if self._before is None:
                raise LineError("there is no previous recipe to go back to; request one by name.")
            self._asked += 1  # a recipe being opened now is no longer wanted
            replaced, self._next, self._before = self._next, self._before, None
            name = self._next.name
        if replaced is not None:
            replaced.inspector.close()
        return name

    def take(self) -> Recipe:
        """Return the recipe for the next part; the change happens here."""
        with self._lock:
            taken, replaced = self._next, None
            if taken is not None:
                replaced, self._before = self._before, self._current
                self._current, self._next = taken, None
            current = self._current
        if replaced is not None:
            # Closing an engine may take long; the next part does not wait for it.
            threading.Thread(target=replaced.inspector.close, name="ast-edge-recipe-close").start()
        if taken is not None:
            self._report("recipe", {"what": "taken", **describe(current)})
        return current

    def wait(self, timeout_s: float) -> bool:
        """Wait until no recipe is being opened."""
        opening = self._opening
        if opening is not None:
            opening.join(timeout_s)
        return opening is None or not opening.is_alive()

    def close(self) -> None:
        """Close every open model; one still being opened is closed when it is ready."""
        if self._opening is not None:
            self._opening.join(_CLOSE_S)
        with self._lock:
            self._asked += 1
            kept = {id(recipe): recipe for recipe in (self._current, self._before, self._next) if recipe}
            self._before = self._next = None
        for recipe in kept.values():
            recipe.inspector.close()

    def _open(self, name: str, asked: int) -> None:
        try:
            opened = open_recipe(name, self._models[name], threads=self._threads, backend=self._backend)
        except Exception as exc:  # noqa: BLE001 (any error is reported to the operator)
            self.last_error = sentence(exc)
            self._report("recipe", {"what": "refused", "recipe": name, "error": self.last_error})
            return
        with self._lock:
            stale = asked != self._asked
            replaced, self._next = (opened, self._next) if stale else (self._next, opened)
        if replaced is not None:
            replaced.inspector.close()
