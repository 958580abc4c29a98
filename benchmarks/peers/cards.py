"""What a candidate of `speed.py` is: a JSON file beside its models.

Standard library only, as two environments read it. A card names the files of one network, one for each
engine that can run it, and says why others cannot.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

SUFFIX = ".card.json"
Engine = Literal["onnxruntime", "openvino", "torch"]
Form = Literal["ast", "nchw"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True)
class Card:
    """One network.

    `files`: a name beside the card for each engine (`torch`: what `worker.py` builds it from). `reasons`:
    why an engine has none. `form`: inputs as our model files have them, or one float32 [1,3,S,S]
    in 0..1. `accuracy`: pattern of result files under benchmarks/results that judged this network.
    `weights`: "trained", or "random" where only the time means anything. `maker`: the environment,
    "ast-edge" or "anomalib". `preset` says how an `ast` network's inputs are made. `gmac` and
    `parameters_m` (millions) where no graph tells them.
    """

    name: str
    method: str
    size: int
    crop: str | None = None
    mode: str = "rgb"
    precision: str = "fp32"
    form: Form = "ast"
    weights: Literal["trained", "random"] = "trained"
    maker: Literal["ast-edge", "anomalib"] = "ast-edge"
    accuracy: str | None = None
    preset: str | None = None
    gmac: float | None = None
    parameters_m: float | None = None
    note: str = ""
    files: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def write(card: Card, folder: Path) -> None:
    """Write `card` into `folder` under its name."""
    text = json.dumps(asdict(card), indent=1) + "\n"
    (folder / f"{card.name}{SUFFIX}").write_text(text, encoding="utf-8")


def read(folder: Path) -> list[Card]:
    """The cards of `folder` by name. Raises ValueError for one with a key that is no part of a card."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            card = Card(**json.loads(path.read_text(encoding="utf-8")))
        except TypeError as exc:
            raise ValueError(f"{path}: not a card of this version ({exc}); prepare it again.") from exc
        unknown = {*card.files, *card.reasons} - {*ENGINES}
        if unknown:
            raise ValueError(f"{path}: unknown engine {sorted(unknown)[0]}; prepare it again.")
        found.append(card)
    return found
