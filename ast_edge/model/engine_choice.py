"""Which engine is the fastest on a CPU: `model.onnx.choice.json`, beside the model.

`ast-edge verify MODEL --backend auto` and `ast-edge build-engine MODEL --cpu` prove every engine for CPUs on
the reference vectors, time those that reproduce them in turns, and write down what they found. What the file
must be:

* one JSON object with the keys of `Choices` and no other, under 64 KiB, sealed by a digest of its bytes;
* an entry for every machine that measured, the last 16 of them; one of another network, processor or version
  of a library is void.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from ast_edge.errors import ModelError
from ast_edge.machine.processor import Processor
from ast_edge.machine.record import Strict
from ast_edge.model.engine_info import Proven
from ast_edge.model.manifest import Positive, Sha256
from ast_edge.model.onnx_file import ModelFile, choice_path
from ast_edge.model.sealed_file import read_sealed, write_sealed

CpuEngine = Literal["onnxruntime", "openvino"]
_MOST_MACHINES = 16
_SAME_NAME = "a processor of the same name with other instructions"
_Ms = Annotated[float, Field(gt=0)]


class Timed(Strict):
    """An engine that reproduced the reference vectors, and its milliseconds for one part."""

    backend: CpuEngine
    name: str
    proven: Proven
    parts: Positive
    least_ms: _Ms
    median_ms: _Ms


class Choice(Strict):
    """What one machine found; `libraries` are the versions of those installed, `left_out` says why one is."""

    network_sha256: Sha256
    processor: Processor
    libraries: dict[CpuEngine, str]
    timed: Annotated[tuple[Timed, ...], Field(min_length=1, max_length=2)]
    left_out: dict[CpuEngine, str]
    chosen: CpuEngine
    at: str

    @model_validator(mode="after")
    def _chosen_was_timed(self) -> Choice:
        if self.chosen not in [one.backend for one in self.timed]:
            raise ValueError(f"chosen is {self.chosen}, which was not timed")
        return self

    def __str__(self) -> str:
        rows = sorted(self.timed, key=lambda one: one.backend != self.chosen)
        figures = ", ".join(f"{one.name} {one.median_ms:.3g} ms" for one in rows)
        others = "".join(f"; {why}" for why in self.left_out.values())
        return f"{figures} (median){others}; measured {self.at} on {self.processor}"


class Choices(Strict):
    """The whole file."""

    format_version: Literal[1] = 1
    choices: Annotated[tuple[Choice, ...], Field(max_length=_MOST_MACHINES)]


class Kept(NamedTuple):
    """The choice in force, or why there is none although something was measured; None for both if not."""

    choice: Choice | None
    void: str | None


def kept_choice(model: ModelFile, processor: Processor, libraries: Mapping[CpuEngine, str]) -> Kept:
    """What is kept for this very network, processor and these libraries. Raises ModelError if damaged."""
    found = _read(model.path)
    if not found:
        return Kept(None, None)
    ours = [one for one in found if one.network_sha256 == model.manifest.network_sha256]
    here = [one for one in ours if one.processor == processor]
    for one in here:
        if one.libraries == libraries:
            return Kept(one, None)
    if not ours:
        return Kept(None, "the engines were measured with another export of this model")
    if not here:
        there = str(ours[-1].processor)
        other = f"{there}, not on this {processor}" if there != str(processor) else _SAME_NAME
        return Kept(None, f"the engines were measured on {other}")
    before, now = (_versions(each) for each in (here[-1].libraries, libraries))
    return Kept(None, f"the engines were measured with {before}; installed is {now}")


def write_choice(model: ModelFile, choice: Choice) -> None:
    """Keep `choice`, in the place of an earlier one of that processor; atomic. Raises ModelError."""
    path = choice_path(model.path)
    others = [
        one
        for one in _read(model.path)
        if one.processor != choice.processor and one.network_sha256 == choice.network_sha256
    ]
    choices = Choices(choices=tuple([*others, choice][-_MOST_MACHINES:]))

    def refused(why: str) -> ModelError:
        return ModelError(
            f"{path}: the engines were measured, but the choice cannot be written ({why}); run "
            f"`ast-edge verify {model.path} --backend auto` as a user who may write there."
        )

    write_sealed(path, choices, refused)


def _versions(libraries: Mapping[CpuEngine, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in sorted(libraries.items())) or "neither"


def _read(model: Path) -> tuple[Choice, ...]:
    path = choice_path(model)

    def refused(why: str) -> ModelError:
        return ModelError(
            f"{path}: the choice of an engine is damaged: {why}; remove the file and run "
            f"`ast-edge verify {model} --backend auto`."
        )

    found = read_sealed(path, Choices, refused)
    return () if found is None else found.choices
