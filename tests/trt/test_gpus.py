"""The GPU that a word after `--gpu` names, and the library that serves it."""

from __future__ import annotations

import pytest

from ast_edge.errors import UsageError
from ast_edge.trt.gpus import CAPABILITIES, SINCE_AMPERE, parse_gpus, takes_rtx


@pytest.mark.parametrize(
    ("text", "capabilities"),
    [
        ("rtx-4060", ("8.9",)),
        ("RTX 4090 Laptop", ("8.9",)),
        ("NVIDIA GeForce RTX 3060 Ti", ("8.6",)),
        ("rtx5090", ("12.0",)),
        ("rtx-2080-ti", ("7.5",)),
        ("gtx-1660", ("7.5",)),
        ("rtx-a2000", ("8.6",)),
        ("RTX 4000 Ada", ("8.9",)),
        ("rtx-4000", ("7.5",)),  # Quadro RTX 4000
        ("rtx-pro-6000", ("12.0",)),
        ("gb10", ("12.1",)),
        ("sm89", ("8.9",)),
        ("sm_120", ("12.0",)),
        ("8.6", ("8.6",)),
        ("sm89,rtx-3060, sm86", ("8.6", "8.9")),
        ("all", SINCE_AMPERE),
        ("all,sm75", CAPABILITIES),
    ],
)
def test_words_for_gpus(text: str, capabilities: tuple[str, ...]) -> None:
    assert parse_gpus(text) == capabilities


@pytest.mark.parametrize("text", ["sm87", "sm90", "sm_110", "10.0"])
def test_jetsons_and_data_centres_are_sent_to_tensorrt(text: str) -> None:
    with pytest.raises(UsageError, match=r"does not serve compute capability .* take TensorRT"):
        parse_gpus(text)


@pytest.mark.parametrize("text", ["", "rtx", "rtx-9999", "sm", "4060", "all;sm89", "h100"])
def test_what_is_no_gpu_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected the name of an RTX GPU"):
        parse_gpus(text)


@pytest.mark.parametrize(
    ("capability", "integrated", "served"),
    [
        ("8.9", False, True),
        ("12.1", True, True),
        ("8.7", True, False),
        ("9.0", False, False),
        ("8.6", True, False),
    ],
)
def test_which_gpu_takes_rtx(capability: str, integrated: bool, served: bool) -> None:
    assert takes_rtx(capability, integrated=integrated) == served
