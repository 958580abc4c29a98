"""anomalib's models with our trunk's weights: built, fitted, stored, exported by anomalib itself.

Runs in the environment of `requirements.txt`. All behind the trunk is anomalib's code with its defaults,
but for the trunk of PatchCore, whose default, WideResNet-50, has no weights here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Peer = Literal["padim", "patchcore", "fastflow", "efficient_ad"]
PEERS: tuple[Peer, ...] = get_args(Peer)
CLASSES = {
    "padim": "Padim",
    "patchcore": "Patchcore",
    "fastflow": "Fastflow",
    "efficient_ad": "EfficientAd",
}
PARTS_OFF = {"post_processor": False, "evaluator": False, "visualizer": False}
Pictures = Callable[[int], list[Tensor]]


def build(peer: Peer, size: int, *, coreset: float = 0.1) -> Any:
    """anomalib's Lightning module with random weights for pictures of `size` pixels, without its
    post-processor.

    The post-processor would scale score and map by figures of a validation set.
    """
    module = import_module(f"anomalib.models.image.{peer}.lightning_model")
    kind = getattr(module, CLASSES[peer])
    own: dict[str, Any] = {"pre_processor": kind.configure_pre_processor((size, size)), **PARTS_OFF}
    if peer != "efficient_ad":
        own |= {"backbone": "resnet18", "pre_trained": False}
    if peer == "patchcore":
        own["coreset_sampling_ratio"] = coreset
    return kind(**own)


def load_trunk(network: Any, weights: Path) -> None:
    """Put ImageNet weights into the trunk; SystemExit names a parameter that the file lacks."""
    inner = network.model.feature_extractor
    trunk = getattr(inner, "feature_extractor", inner)  # FastFlow has timm's network itself
    state = {name: tensor.float() for name, tensor in load_file(weights).items()}
    missing = trunk.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise SystemExit(f"{weights}: lacks {', '.join(missing[:3])} ...")


def fit_by_one_pass(network: Any, batches: list[Tensor]) -> None:
    """PaDiM and PatchCore see every good part once."""
    network.model.train()
    network.model.feature_extractor.eval()
    with torch.no_grad():
        for batch in batches:
            network.model(batch)
        if hasattr(network, "coreset_sampling_ratio"):
            network.model.subsample_embedding(network.coreset_sampling_ratio)
        else:
            network.model.fit()


def train(network: Any, pictures: Pictures, epochs: int) -> list[float]:
    """FastFlow's own loss and optimiser; `pictures` gives an epoch's batches. Returns the loss of each
    epoch."""
    optimiser = network.configure_optimizers()
    losses = []
    for epoch in range(epochs):
        network.model.train()
        batches = pictures(epoch)
        total = 0.0
        for batch in batches:
            optimiser.zero_grad()
            loss = network.loss(*network.model(batch))
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        losses.append(round(total / len(batches), 2))
    return losses


def store(network: Any, about: dict[str, object], folder: Path, name: str) -> str:
    """Write the network's state and what `restored` builds it from; returns the name of the latter."""
    state = {key: tensor.contiguous() for key, tensor in network.model.state_dict().items()}
    save_file(state, folder / f"{name}.safetensors")
    recipe = {"maker": "anomalib", **about, "state": f"{name}.safetensors"}
    (folder / f"{name}.json").write_text(json.dumps(recipe) + "\n", encoding="utf-8")
    return f"{name}.json"


def restored(recipe: dict[str, Any], folder: Path) -> Any:
    """What `store` wrote, in evaluation mode."""
    network = build(recipe["peer"], recipe["size"])
    state = load_file(folder / recipe["state"])
    for key, tensor in state.items():
        # Memory bank and Gaussian have no size before they are fitted.
        owner, _, leaf = key.rpartition(".")
        module = network.model.get_submodule(owner)
        if leaf in module._buffers:  # their sizes cannot be set otherwise
            setattr(module, leaf, tensor)
    network.model.load_state_dict(state)
    return network.eval()


def export(network: Any, size: int, folder: Path, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Let anomalib write ONNX and OpenVINO: names of the files, and the words of what failed, by engine.

    With a batch of 1, as ours: with a free batch, its default, PatchCore comes out with a fixed batch of 2.
    """
    fixed: dict[str, Any] = {"dynamic_axes": None}
    files, reasons = {}, {}
    for engine, call, words in (
        ("onnxruntime", network.to_onnx, fixed),
        ("openvino", network.to_openvino, {"onnx_kwargs": fixed}),
    ):
        try:
            path = Path(call(folder / name, name, (size, size), **words))
        except Exception as exc:  # noqa: BLE001  # any error is reported in the table
            said = " ".join(str(exc).split())
            reasons[engine] = f"anomalib's export: {type(exc).__name__}: {said[:200]}"
            continue
        files[engine] = path.relative_to(folder).as_posix()
    return files, reasons
