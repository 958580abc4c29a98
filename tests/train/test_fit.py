"""The training loop on small random features: learning, records, skipped parts and refusals."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ast_edge.errors import RunError
from ast_edge.train.checkpoint import read_tensors
from ast_edge.train.config import TrainConfig, changed, preset
from ast_edge.train.features import Features
from ast_edge.train.fit import (
    WARM_UP,
    Parts,
    Phase,
    Workplace,
    expected_seconds,
    fit,
    learning_rate,
    settled,
    student_phase,
    teacher_phase,
)
from ast_edge.train.losses import teacher_loss
from ast_edge.train.network import AstNetwork

CPU = torch.device("cpu")


def config_for(**changes: object) -> TrainConfig:
    """Mode depth: 64 channels on a map of 4x4 without a trunk, with narrow networks."""
    small: dict[str, object] = {
        "image_size": 64,
        "teacher.hidden": 8,
        "teacher.epochs": 3,
        "student.width": 8,
        "student.blocks": 1,
        "student.epochs": 3,
        "lr": 1e-3,
    }
    return changed(preset("nano", "depth"), small | changes)


def features(count: int, seed: int) -> Features:
    values = np.random.default_rng(seed).standard_normal((count, 64, 4, 4), dtype=np.float32)
    return Features(values, np.ones((count, 1, 4, 4), np.float32))


def network_and_parts(
    config: TrainConfig, *, train: int = 16, holdout: int = 5, holdout_seed: int = 2
) -> tuple[AstNetwork, Parts]:
    network = AstNetwork(config, None)
    return network, Parts(features(train, 1), features(holdout, holdout_seed), network.standardise)


def train_both(config: TrainConfig, folder: Path, **parts: int) -> dict[str, Tensor]:
    """Both phases as a run does them; the state of the finished network."""
    network, made = network_and_parts(config, **parts)
    place = place_in(folder)
    fit(teacher_phase(network, config), made, config, place)
    fit(student_phase(network, config), made, config, place)
    return network.state_dict()


def place_in(folder: Path) -> Workplace:
    folder.mkdir(exist_ok=True)
    return Workplace(folder / "checkpoint.safetensors", folder / "history.json", CPU)


def rows(folder: Path) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((folder / "history.json").read_text())
    return read


def differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_the_time_is_told_before_and_costs_nothing_but_time(tmp_path: Path) -> None:
    config = config_for(**{"teacher.epochs": 60, "student.epochs": 60})
    network, parts = network_and_parts(config, train=64)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    expected = expected_seconds(network, parts, config, CPU)
    assert not differ(before, network.state_dict())
    assert torch.equal(random, torch.get_rng_state())
    assert network.teacher.training
    assert network.student.training
    started = time.perf_counter()
    train_both(config, tmp_path / "run", train=64)
    taken = time.perf_counter() - started
    assert taken / 8 < expected < taken * 8, "a machine may stall, and small networks cost little beside Adam"
    short = config_for(**{"teacher.epochs": 1, "student.epochs": 1})
    assert expected_seconds(network, parts, short, CPU) < expected / 10


@pytest.mark.slow
def test_history_has_a_row_per_epoch_and_the_losses_fall(tmp_path: Path) -> None:
    train_both(config_for(), tmp_path, train=64)
    history = rows(tmp_path)
    assert [(row["phase"], row["epoch"]) for row in history] == [
        (phase, epoch) for phase in ("teacher", "student") for epoch in (1, 2, 3)
    ]
    for phase in (history[:3], history[3:]):
        assert phase[0].keys() == {"phase", "epoch", "loss", "holdout_loss"}
        assert phase[0]["loss"] > phase[2]["loss"]
        assert all(np.isfinite([row["loss"], row["holdout_loss"]]).all() for row in phase)


@pytest.mark.slow
def test_one_seed_gives_one_result_and_another_seed_another(tmp_path: Path) -> None:
    first = train_both(config_for(seed=1), tmp_path / "a")
    assert not differ(first, train_both(config_for(seed=1), tmp_path / "b"))
    assert differ(first, train_both(config_for(seed=2), tmp_path / "c"))


@pytest.mark.slow
def test_held_out_parts_only_ever_give_a_loss(tmp_path: Path) -> None:
    first = train_both(config_for(), tmp_path / "a", holdout_seed=2)
    assert not differ(first, train_both(config_for(), tmp_path / "b", holdout_seed=3))
    losses = [[row["holdout_loss"] for row in rows(tmp_path / name)] for name in ("a", "b")]
    assert losses[0] != losses[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"noise": 0.0}, {"batch_size": 4}, {"weight_decay": 0.1}, {"student.hard_share": 0.0}],
)
def test_every_option_has_its_effect(tmp_path: Path, change: dict[str, object]) -> None:
    first = train_both(config_for(), tmp_path / "a")
    assert differ(first, train_both(config_for(**change), tmp_path / "b"))


@pytest.mark.slow
def test_one_cycle_is_pytorchs() -> None:
    steps, config = 20_000, config_for(schedule="one-cycle")
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=steps)
    for step in range(steps):
        assert learning_rate(config, step / steps) == pytest.approx(
            theirs.get_last_lr()[0], abs=1e-3 * config.lr
        )
        optimiser.step()
        if step < steps - 1:
            theirs.step()
    assert learning_rate(config, WARM_UP) == config.lr
    assert {learning_rate(config_for(schedule="constant"), done) for done in (0.0, 0.3, 0.99)} == {1e-3}


def test_features_are_standardised_before_both_networks(tmp_path: Path) -> None:
    config = config_for(**{"teacher.epochs": 1, "student.epochs": 1, "noise": 0.0})
    plain = train_both(config, tmp_path / "a")
    network, parts = network_and_parts(config)
    network.standardise.mean.fill_(5.0)
    network.standardise.std.fill_(3.0)
    scaled = [Features(part.features * 3 + 5, part.mask) for part in (parts.train, parts.holdout)]
    place = place_in(tmp_path / "b")
    for phase in (teacher_phase(network, config), student_phase(network, config)):
        fit(phase, Parts(scaled[0], scaled[1], network.standardise), config, place)
    found = network.state_dict()
    # A bias before a batch norm has no gradient but rounding, which Adam scales up to a whole step; the
    # normalisation's running mean follows it.
    free = re.compile(r"standardise|student\.blocks\.\d+\.(conv\d\.bias|\w+\.running_mean)")
    kept = [name for name in plain if not free.match(name)]
    assert len(kept) > len(plain) // 2
    assert all(torch.allclose(plain[name], found[name], atol=1e-3) for name in kept)


def batches_seen(config: TrainConfig, tmp_path: Path, count: int) -> list[int]:
    """Sizes of the batches that reach the loss in training."""
    network, parts = network_and_parts(config, train=count)
    seen: list[int] = []

    def loss(x: Tensor, _: Tensor | None) -> Tensor:
        if network.teacher.training:
            seen.append(len(x))
        z, log_det = network.teacher(x)
        return teacher_loss(z, log_det, None)

    fit(Phase("teacher", network.teacher, 1, loss), parts, config, place_in(tmp_path))
    return seen


def test_an_incomplete_last_batch_is_left_out(tmp_path: Path) -> None:
    assert batches_seen(config_for(batch_size=4), tmp_path, 11) == [4, 4]


def test_fewer_parts_than_a_batch_are_one_batch(tmp_path: Path) -> None:
    assert batches_seen(config_for(batch_size=8), tmp_path, 5) == [5]


@pytest.mark.parametrize(
    ("able", "device", "expected"),
    [
        ({"amx_bf16": True}, "cpu", True),
        ({"avx512_bf16": True}, "cpu", True),
        ({"avx512_f": True, "amx_bf16": False}, "cpu", False),
        ({}, "cpu", False),
        ({"amx_bf16": True}, "cuda", False),
    ],
)
def test_mixed_precision_where_the_cpu_multiplies_bfloat16(
    able: dict[str, bool], device: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    config = config_for()
    assert config.mixed_precision is None
    assert settled(config, torch.device(device)).mixed_precision is expected
    for given in (True, False):
        assert settled(config_for(mixed_precision=given), torch.device(device)).mixed_precision is given


@pytest.mark.parametrize("mixed", [False, True])
def test_the_student_learns_from_the_teacher_in_full_precision(tmp_path: Path, mixed: bool) -> None:
    config = config_for(mixed_precision=mixed, **{"student.epochs": 1})
    network, parts = network_and_parts(config)
    kinds = set()

    def see(_: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        kinds.add((inputs[0].dtype, output.dtype))

    hook = network.teacher.flow.module_list[1].subnet1.conv1.register_forward_hook(see)
    fit(teacher_phase(network, config), parts, config, place_in(tmp_path))
    half = torch.bfloat16 if mixed else torch.float32
    assert {output for _, output in kinds} == {half}
    kinds.clear()
    fit(student_phase(network, config), parts, config, place_in(tmp_path))
    assert kinds == {(torch.float32, torch.float32)}
    hook.remove()


def test_a_trained_network_is_left_in_the_order_of_memory_that_a_file_has(tmp_path: Path) -> None:
    network, parts = network_and_parts(config_for())
    fit(teacher_phase(network, config_for()), parts, config_for(), place_in(tmp_path))
    assert all(parameter.is_contiguous() for parameter in network.parameters())


@pytest.mark.slow
def test_mixed_precision_trains(tmp_path: Path) -> None:
    state = train_both(config_for(mixed_precision=True), tmp_path)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert differ(state, train_both(config_for(), tmp_path / "b"))


@pytest.mark.parametrize("phase", ["teacher", "student"])
def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: Path, phase: str) -> None:
    config = config_for(lr=1e30)
    network, parts = network_and_parts(config)
    make = teacher_phase if phase == "teacher" else student_phase
    with pytest.raises(RunError, match=rf"^the {phase}'s loss became (nan|inf) in epoch \d; .* smaller --lr"):
        fit(make(network, config), parts, config, place_in(tmp_path))
    checkpoint = tmp_path / "checkpoint.safetensors"
    if checkpoint.exists():
        assert all(torch.isfinite(tensor).all() for tensor in read_tensors(checkpoint)[0].values())


class Stopped(BaseException):
    """As a kill: nothing may catch it."""


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_phase_stopped_in_any_epoch_goes_on_to_the_bit(tmp_path: Path, kind: str, epoch: int) -> None:
    config = config_for()
    make = teacher_phase if kind == "teacher" else student_phase
    whole, parts = network_and_parts(config)
    fit(make(whole, config), parts, config, place_in(tmp_path / "whole"))

    stopped, _ = network_and_parts(config)
    phase = make(stopped, config)
    calls = 0

    def loss(x: Tensor, mask: Tensor | None) -> Tensor:
        nonlocal calls
        calls += phase.module.training
        if calls == 2 * epoch:  # the second batch of two, with half an epoch done
            raise Stopped
        return phase.loss(x, mask)

    place = place_in(tmp_path / "stopped")
    with pytest.raises(Stopped):
        fit(Phase(phase.name, phase.module, phase.epochs, loss), parts, config, place)
    continued, _ = network_and_parts(config)
    fit(make(continued, config), parts, config, place)
    assert not differ(whole.state_dict(), continued.state_dict())
    assert rows(tmp_path / "whole") == rows(tmp_path / "stopped")


def test_history_beyond_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    """A kill between the two files leaves a row of an epoch that will be trained again."""
    config = config_for()
    network, parts = network_and_parts(config)
    place = place_in(tmp_path)
    fit(teacher_phase(network, config), parts, config, place)
    expected = rows(tmp_path)
    place.history.write_text(json.dumps([*expected, {**expected[-1], "epoch": 4, "loss": 0.0}]))
    longer = config_for(**{"teacher.epochs": 4})
    fit(teacher_phase(network, longer), parts, longer, place)
    assert [row["epoch"] for row in rows(tmp_path)] == [1, 2, 3, 4]
    assert rows(tmp_path)[3]["loss"] != 0.0


@pytest.mark.parametrize("content", ["", "[{", "\udcff"])
def test_a_damaged_history_is_refused_by_name(tmp_path: Path, content: str) -> None:
    network, parts = network_and_parts(config_for())
    place = place_in(tmp_path)
    place.history.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"history\.json: is damaged"):
        fit(teacher_phase(network, config_for()), parts, config_for(), place)
