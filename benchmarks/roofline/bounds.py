"""From costs and ceilings to times: the floor that no engine is below, and a cautious estimate above it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.roofline.layers import Layer, Network


@dataclass(frozen=True)
class Ceilings:
    """What a machine does at best: bytes copied per second, counting reads and writes, and
    multiply-accumulates per second in a precision.
    """

    bytes_per_s: float
    macs_per_s: Mapping[str, float]

    def rate(self, precision: str) -> float:
        """Multiply-accumulates per second; of a precision that is not known, those of FP32."""
        return self.macs_per_s.get(precision, self.macs_per_s["fp32"])


@dataclass(frozen=True)
class Habits:
    """What a machine usually does: bytes per second, the share of the highest rate that layers reach, and the
    seconds that starting one node takes.

    `shares` has names as `depthwise fp32`, `depthwise` or `fp32`, the first that fits; else it is `share`.
    """

    bytes_per_s: float
    share: float
    node_s: float
    shares: Mapping[str, float] = field(default_factory=dict)

    def share_of(self, layer: Layer) -> float:
        """The share of its precision's highest rate that a layer reaches."""
        names = (f"{layer.kind} {layer.precision}", layer.kind, layer.precision)
        return next((self.shares[name] for name in names if name in self.shares), self.share)


def floor_ms(layers: Iterable[Layer], ceilings: Ceilings) -> float:
    """Milliseconds that the layers take at least: everything else fused, every ceiling reached."""
    return sum(_layer_floor_ms(layer, ceilings) for layer in layers)


def cautious_ms(network: Network, ceilings: Ceilings, habits: Habits) -> float:
    """Milliseconds with nothing fused, at the usual shares of the ceilings, one node started after another.

    Never below the floor.
    """
    seconds = 0.0
    for layer in (*network.layers, *network.elements):
        rate = ceilings.rate(layer.precision) * habits.share_of(layer)
        seconds += max(layer.bytes / habits.bytes_per_s, layer.macs / rate) + habits.node_s
    return max(1e3 * seconds, floor_ms(network.layers, ceilings))


def report(layers: list[Layer], ceilings: Ceilings, *, slowest: int = 10) -> dict[str, Any]:
    """The floor, what it is made of, and the layers that weigh most in it."""
    rows = sorted(layers, key=lambda layer: -_layer_floor_ms(layer, ceilings))
    return {
        "floor_ms": round(floor_ms(layers, ceilings), 5),
        "gmac": round(sum(layer.macs for layer in layers) / 1e9, 4),
        "mbytes": round(sum(layer.bytes for layer in layers) / 1e6, 3),
        "layers": len(layers),
        "heaviest": [
            {**asdict(layer), "floor_ms": round(_layer_floor_ms(layer, ceilings), 5)}
            for layer in rows[:slowest]
        ],
    }


def bound_by_bytes(layers: Iterable[Layer], ceilings: Ceilings) -> float:
    """The part of the floor, 0 to 1, that layers bound by bytes and not by multiplications make."""
    layers = list(layers)
    of_bytes = [
        layer
        for layer in layers
        if layer.bytes / ceilings.bytes_per_s > layer.macs / ceilings.rate(layer.precision)
    ]
    return floor_ms(of_bytes, ceilings) / floor_ms(layers, ceilings)


def _layer_floor_ms(layer: Layer, ceilings: Ceilings) -> float:
    return 1e3 * max(layer.bytes / ceilings.bytes_per_s, layer.macs / ceilings.rate(layer.precision))
