"""An engine for users' own tests: it answers what the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ast_edge.backends.base import Backend, Outputs
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import ModelSpec


class FakeBackend(Backend):
    """Calls `answer` with the checked inputs of any batch size; its outputs are checked like any engine's.

    `Inspector(spec, FakeBackend(spec, answer))` lets a line's own software be tested without a network.
    """

    name = "fake"

    def __init__(self, spec: ModelSpec, answer: Callable[[Mapping[str, Array]], Outputs]) -> None:
        super().__init__(spec.input_specs(-1), spec.output_specs(-1))
        self._answer = answer

    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        return self._answer(inputs)
