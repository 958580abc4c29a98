"""Folding is exact: the folded networks compute what the trained ones do, up to float64's rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ast_edge.model.manifest import Mode
from ast_edge.train.config import StudentConfig, TeacherConfig
from ast_edge.train.student import Student
from ast_edge.train.teacher import Teacher
from ast_edge_export.fold import FoldedNetwork, FoldedStudent, fold_teacher
from tests.export import MODES, run_torch, tiny_inputs, tiny_network

EXACT = 1e-12


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest value."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == torch.float64
    return ((found - expected).abs().max() / expected.abs().max()).item()


def features(channels: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(channels)
    return 3 * torch.randn(3, channels, size, size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("channels", "size", "clamp"), [(4, 3, 1.9), (7, 5, 3.0), (64, 4, 1.9)])
def test_teacher_is_folded_exactly(channels: int, size: int, clamp: float) -> None:
    torch.manual_seed(0)
    teacher = Teacher(channels, size, TeacherConfig(hidden=6, clamp=clamp, epochs=1)).double()
    x = features(channels, size)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if name.endswith("gamma"):
                parameter.normal_(1.0, 0.5)
        z, log_det = teacher(x)
        assert log_det.abs().max() > 0.1
        assert difference(fold_teacher(teacher)(x), z) < EXACT


@pytest.mark.parametrize(("channels", "size", "slope"), [(4, 3, 0.2), (7, 5, 0.01), (64, 4, 0.2)])
def test_student_is_folded_exactly(channels: int, size: int, slope: float) -> None:
    torch.manual_seed(0)
    config = StudentConfig(width=8, blocks=3, epochs=1, leaky_slope=slope)
    student = Student(channels, size, config).double()
    with torch.no_grad():
        for _ in range(3):
            student(features(channels, size))  # moves the running statistics
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-1.5, 1.5)
        student.eval()
        x = features(channels, size)
        assert difference(FoldedStudent(student)(x), student(x)) < EXACT


@pytest.mark.parametrize("mode", MODES)
def test_network_is_folded_exactly(mode: Mode) -> None:
    network = tiny_network(mode).double()
    folded = FoldedNetwork(network)
    inputs = {name: torch.from_numpy(array) for name, array in tiny_inputs(mode, 3).items()}
    with torch.no_grad():
        score, anomaly_map = network(**inputs)
        folded_score, folded_map = folded(**inputs)
    assert (anomaly_map.min().item() == 0) == (mode != "rgb")  # there is an outside
    assert difference(folded_map, anomaly_map) < EXACT
    assert difference(folded_score, score) < EXACT


@pytest.mark.parametrize("mode", MODES)
def test_network_is_folded_in_float32_too(mode: Mode) -> None:
    network, inputs = tiny_network(mode), tiny_inputs(mode, 3)
    for found, expected in zip(
        run_torch(FoldedNetwork(network), inputs), run_torch(network, inputs), strict=True
    ):
        assert abs(found - expected).max() < 1e-5 * expected.max()


def test_nothing_constant_is_left_to_compute() -> None:
    network = tiny_network("depth")
    folded = FoldedNetwork(network)
    assert not [name for name, _ in folded.named_buffers() if name.endswith("condition")]
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not [name for name, _ in folded.named_parameters() if name.endswith("gamma")]
    conv: nn.Conv2d = folded.student.conv_in
    assert conv.in_channels == network.student.conv_in.in_channels - 32 == 64


def test_the_network_that_was_folded_is_left_as_it_was() -> None:
    network = tiny_network("depth").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainable = [name for name, p in network.named_parameters() if p.requires_grad]
    folded = FoldedNetwork(network)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == trainable
    assert network.student.training
    assert all(module.training for module in network.student.modules())
    with torch.no_grad():
        for parameter in (*folded.teacher.parameters(), *folded.student.parameters()):
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_folded_network_is_frozen_and_in_evaluation_mode() -> None:
    folded = FoldedNetwork(tiny_network("rgbd").train())
    assert not any(module.training for module in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())
