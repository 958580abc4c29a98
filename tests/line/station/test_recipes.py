"""Changing what is inspected while the line runs."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ast_edge.errors import BackendError, LineError, UsageError
from ast_edge.line.events import EventKind
from ast_edge.line.station import recipes as module
from ast_edge.line.station.recipes import Recipe, Recipes, open_recipe
from tests.line.rig import recipe, rig
from tests.waiting import wait_for


class Reports:
    """Records what was reported."""

    def __init__(self) -> None:
        self.heard: list[tuple[EventKind, Mapping[str, object]]] = []

    def __call__(self, kind: EventKind, details: Mapping[str, object]) -> None:
        self.heard.append((kind, details))


@pytest.fixture
def two_models(tmp_path: Path, tiny_rgb: Path) -> dict[str, Path]:
    """Two recipes with real models, and one with a damaged one."""
    found = {}
    for name in ("first", "second", "damaged"):
        folder = tmp_path / name
        folder.mkdir()
        for path in tiny_rgb.parent.glob("model*"):
            shutil.copy(path, folder)
        found[name] = folder / "model.onnx"
    data = found["damaged"].read_bytes()
    found["damaged"].write_bytes(data[:-7])
    return found


def test_the_next_recipe_is_taken_between_two_parts_and_the_one_before_is_kept(
    two_models: dict[str, Path],
) -> None:
    reported = Reports()
    recipes = Recipes(two_models, open_recipe("first", two_models["first"]), reported)
    recipes.request("second")
    assert recipes.current.name == "first"
    assert recipes.wait(30)
    assert recipes.current.name == "first"
    first = recipes.current
    assert recipes.take().name == "second"
    assert recipes.rollback() == "first"
    assert recipes.take() is first, "the recipe before was still open: nothing is opened"
    assert recipes.rollback() == "second"
    recipes.take()
    recipes.rollback()
    with pytest.raises(LineError, match="no previous recipe"):
        recipes.rollback()
    recipes.take()
    recipes.close()
    assert [(details["what"], details["recipe"]) for _, details in reported.heard] == [
        ("taken", name) for name in ("second", "first") * 2
    ]
    assert reported.heard[0][1]["model"] == "tiny-rgb"
    with pytest.raises(BackendError, match="closed"):
        recipes.current.inspector.inspect()


def test_the_next_recipe_runs_on_the_same_engine_library(two_models: dict[str, Path]) -> None:
    first = open_recipe("first", two_models["first"], threads=1, backend="openvino")
    recipes = Recipes(two_models, first, Reports(), threads=1, backend="openvino")
    recipes.request("second")
    assert recipes.wait(30)
    for taken in (first, recipes.take()):
        assert taken.inspector.engine.startswith("OpenVINO")
    recipes.close()


def test_a_recipe_that_is_damaged_or_unknown_is_refused_and_the_line_keeps_its_own(
    two_models: dict[str, Path],
) -> None:
    reported = Reports()
    recipes = Recipes(two_models, open_recipe("first", two_models["first"]), reported)
    with pytest.raises(UsageError, match="known: damaged, first, second"):
        recipes.request("third")
    recipes.request("damaged")
    assert recipes.wait(30)
    assert recipes.take().name == "first"
    assert (reported.heard[0][1]["what"], reported.heard[0][1]["recipe"]) == ("refused", "damaged")
    assert recipes.last_error
    recipes.close()


def test_two_changes_at_once_are_refused(
    two_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = threading.Event()
    real = module.open_recipe

    def slow(name: str, model: Path, **engine: Any) -> Recipe:
        opening.wait(20)
        return real(name, model, **engine)

    recipes = Recipes(two_models, open_recipe("first", two_models["first"]), Reports())
    monkeypatch.setattr(module, "open_recipe", slow)
    recipes.request("second")
    with pytest.raises(LineError, match="another change"):
        recipes.request("second")
    assert not recipes.wait(0.01)
    opening.set()
    assert recipes.wait(30)
    recipes.close()


@pytest.mark.slow
def test_no_trigger_is_lost_while_recipes_change_under_load(two_models: dict[str, Path]) -> None:
    """Real models are opened in the background, again and again; every part has one verdict and a recipe."""
    recipes = Recipes(two_models, recipe("bench"), Reports())
    with rig(recipes=recipes, software_trigger=True, deadline_ms=20_000.0, max_waiting=1000) as bench:
        end = time.monotonic() + 2.0
        names = iter(["second", "first"] * 10_000)
        while time.monotonic() < end:
            bench.station.trigger()
            bench.settle(bench.station.balance().triggers)
            if recipes.wait(0):
                recipes.request(next(names))
        wait_for(lambda: recipes.wait(0))
    seen = {result.recipe for result in bench.results}
    assert seen == {"bench", "first", "second"}
    assert {result.verdict for result in bench.results} <= {"pass", "reject"}


def test_closing_lets_go_of_the_recipe_that_was_not_taken(two_models: dict[str, Path]) -> None:
    recipes = Recipes(two_models, open_recipe("first", two_models["first"]), Reports())
    recipes.request("second")
    assert recipes.wait(30)
    waiting = recipes._next
    assert waiting is not None
    recipes.close()
    with pytest.raises(BackendError, match="closed"):
        waiting.inspector.inspect()
