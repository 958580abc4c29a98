"""The pictures that every candidate gets, made into its inputs by the one definition of ast-edge."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from ast_edge.data import Sample, open_dataset
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Crop, Mode, Preprocessing, input_specs
from ast_edge.train.config import PresetName, preset
from ast_edge.train.features import network_inputs
from benchmarks.peers.cards import Card


def inputs(card: Card, count: int, data: Path | None) -> dict[str, Array]:
    """Arrays with `count` pictures along the first axis: test parts spread over `data`, or random ones."""
    mode, spec = _spec(card)
    if data is None:
        parts = [_random(mode, spec, seed) for seed in range(count)]
    else:
        test = open_dataset(data, mode=mode).test
        chosen: list[Sample] = [test[index * len(test) // count] for index in range(count)]
        parts = [network_inputs(sample, mode, spec) for sample in chosen]
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    if card.form == "ast":
        return stacked
    return {"input": stacked["image"].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)}


def _spec(card: Card) -> tuple[Mode, Preprocessing]:
    mode = cast(Mode, card.mode)
    crop = None
    if card.crop is not None:
        x, y, width, height = (int(number) for number in card.crop.split(","))
        crop = Crop(x=x, y=y, width=width, height=height)
    if card.form == "nchw":
        return mode, Preprocessing(crop=crop, image_size=card.size, map_size=card.size, depth=None)
    config = preset(cast(PresetName, card.preset), mode)
    return mode, config.model_copy(update={"crop": crop, "image_size": card.size}).preprocessing


def _random(mode: Mode, spec: Preprocessing, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for tensor in input_specs(mode, spec):
        shape = tensor.shape[1:]
        if tensor.dtype == "uint8":
            made[tensor.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            made[tensor.name] = np.ones(shape, np.float32)
    return made
