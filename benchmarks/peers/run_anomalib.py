"""anomalib's models on one product, with our trunk's weights, for `score.py` to judge and `speed.py` to time.

    python -m benchmarks.peers.run_anomalib patchcore DATA --weights resnet18.safetensors --size 256 \
        [--crop 54,60,306,306] -o peer.npz [--models FOLDER]

Runs in an environment of its own (`requirements.txt` beside this file). The parts, their order, the picture
(antialiased resize of the crop, ImageNet mean and deviation) and the trunk's weights are those of ast-edge;
all else is anomalib's code with its defaults, but for PatchCore's trunk and what the options say.
`--models` also exports to ONNX and OpenVINO with anomalib's own functions. `efficient_ad` has no weights
here: it is only exported.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.peers import anomalib_models, cards

METHODS = {
    "padim": "PaDiM",
    "patchcore": "PatchCore",
    "fastflow": "FastFlow",
    "efficient_ad": "EfficientAD-S",
}
BATCH = 8  # of training too, where anomalib takes 32: more steps for the same time


def main() -> int:
    options = _arguments()
    torch.manual_seed(options.seed)
    network = anomalib_models.build(options.peer, options.size, coreset=options.coreset)
    about: dict[str, object] = {}
    if options.peer != "efficient_ad":
        about = _fit(network, options)
        _judge(network.eval(), about, options)
    if options.models:
        _export(network.eval(), about, options)
    return 0


def _fit(network: Any, options: argparse.Namespace) -> dict[str, object]:
    anomalib_models.load_trunk(network, options.weights)
    good = _pictures(_parts(options.data)["train"], options)
    good = network.pre_processor(good)
    started = time.monotonic()
    losses = None
    if options.peer == "fastflow":
        losses = anomalib_models.train(network, lambda epoch: _shuffled(good, epoch), options.epochs)
    else:
        anomalib_models.fit_by_one_pass(network, list(torch.split(good, BATCH)))
    return {
        "peer": options.peer,
        "size": options.size,
        "crop": options.crop,
        "coreset": options.coreset if options.peer == "patchcore" else None,
        "epochs": options.epochs if options.peer == "fastflow" else None,
        "train_batch": BATCH if options.peer == "fastflow" else None,
        "losses": losses,
        "layers": list(getattr(network.model, "layers", ("layer1", "layer2", "layer3"))),
        "seed": options.seed,
        "fit_s": round(time.monotonic() - started, 1),
    }


def _judge(network: Any, about: dict[str, object], options: argparse.Namespace) -> None:
    test = _parts(options.data)["test"]
    scores: list[float] = []
    maps = []
    started = time.monotonic()
    for batch in torch.split(_pictures(test, options), BATCH):
        with torch.inference_mode():
            found = network(batch)
        scores += found.pred_score.flatten().tolist()
        maps += [found.anomaly_map.squeeze(1).numpy().astype(np.float32)]
    about["judge_s_per_part"] = round((time.monotonic() - started) / len(scores), 4)
    about["versions"] = {name: version(name) for name in ("anomalib", "torch", "timm")}
    names = [path.relative_to(options.data).as_posix() for path in test]
    np.savez_compressed(
        options.output, names=names, scores=scores, maps=np.concatenate(maps), about=json.dumps(about)
    )


def _export(network: Any, about: dict[str, object], options: argparse.Namespace) -> None:
    options.models.mkdir(parents=True, exist_ok=True)
    share = f"_{options.coreset:.0%}".rstrip("%") if options.peer == "patchcore" else ""
    name = f"{options.peer}{share}_{options.size}_{'crop' if options.crop else 'frame'}"
    files, reasons = anomalib_models.export(network, options.size, options.models, name)
    recipe: dict[str, object] = {"peer": options.peer, "size": options.size}
    files["torch"] = anomalib_models.store(network, recipe, options.models, name)
    words = f", {options.coreset:.0%} of the patches" if share else ""
    words += f", {options.epochs} epochs" if options.peer == "fastflow" else ""
    card = cards.Card(
        name=name,
        method=f"{METHODS[options.peer]}{words}",
        size=options.size,
        crop=options.crop,
        form="nchw",
        weights="trained" if about else "random",
        maker="anomalib",
        accuracy=f"peers/{name}.json" if about else None,
        note="" if about else "its pretrained teacher cannot be had here: random weights, time only",
        files=files,
        reasons=reasons,
    )
    cards.write(card, options.models)


def _parts(data: Path) -> dict[str, list[Path]]:
    """Good parts to fit on and all test parts, as ast-edge lists them."""
    kinds = sorted(folder for folder in (data / "test").iterdir() if folder.is_dir())
    return {
        "train": sorted((data / "train" / "good" / "rgb").glob("*.png")),
        "test": [path for kind in kinds for path in sorted((kind / "rgb").glob("*.png"))],
    }


def _shuffled(good: Tensor, epoch: int) -> list[Tensor]:
    order = torch.randperm(len(good), generator=torch.Generator().manual_seed(epoch))
    return list(torch.split(good[order], BATCH))


def _pictures(paths: list[Path], options: argparse.Namespace) -> Tensor:
    """Float [N,3,S,S] in 0..1, which anomalib's pre-processor takes; of this size it only normalises."""
    pictures = np.stack([_picture(path, options) for path in paths])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _picture(path: Path, options: argparse.Namespace) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        colour = picture.convert("RGB")
    if options.crop:
        x, y, width, height = (int(number) for number in options.crop.split(","))
        colour = colour.crop((x, y, x + width, y + height))
    return np.asarray(colour.resize((options.size, options.size), Image.Resampling.BILINEAR))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("peer", choices=anomalib_models.PEERS)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="what score.py reads; not for efficient_ad")
    parser.add_argument("--models", type=Path, help="folder for exported models and their card")
    parser.add_argument("--weights", type=Path, help="the trunk's weights; not for efficient_ad")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--crop", help="X,Y,W,H in pixels; without it the whole frame")
    parser.add_argument("--coreset", type=float, default=0.1, help="share of the patches PatchCore keeps")
    parser.add_argument("--epochs", type=int, default=20, help="of FastFlow")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.peer != "efficient_ad" and not (options.output and options.weights):
        parser.error(f"{options.peer} needs --output and --weights")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
