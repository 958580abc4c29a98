"""PatchCore and PaDiM of anomalib on one product, with our trunk's weights, for `score.py` to judge.

    python benchmarks/peers/run_anomalib.py patchcore DATA --weights resnet18.safetensors --size 256 \
        [--crop 54,60,306,306] -o peer.npz

Runs in an environment of its own (`requirements.txt` beside this file). The parts, their order, the picture
(antialiased resize of the crop, ImageNet mean and deviation) and the trunk (ResNet-18, layers 2 and 3) are
those of ast-edge; behind the trunk all is anomalib's code with its defaults, but for PatchCore's coreset.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 8
LAYERS = ["layer2", "layer3"]


def main() -> int:
    options = _arguments()
    torch.manual_seed(options.seed)
    parts = _parts(options.data)
    started = time.monotonic()
    model = _fitted(options, parts["train"])
    fitted = time.monotonic()
    scores, maps = [], []
    for batch in _batches(parts["test"], options):
        with torch.inference_mode():
            found = model(batch)
        scores += found.pred_score.flatten().tolist()
        maps += [found.anomaly_map.squeeze(1).numpy().astype(np.float32)]
    about = {
        "peer": options.peer,
        "size": options.size,
        "crop": options.crop,
        "coreset": options.coreset if options.peer == "patchcore" else None,
        "seed": options.seed,
        "fit_s": round(fitted - started, 1),
        "judge_s_per_part": round((time.monotonic() - fitted) / len(scores), 4),
        "versions": {name: version(name) for name in ("anomalib", "torch", "timm")},
    }
    names = [path.relative_to(options.data).as_posix() for path in parts["test"]]
    np.savez_compressed(
        options.output, names=names, scores=scores, maps=np.concatenate(maps), about=json.dumps(about)
    )
    return 0


def _parts(data: Path) -> dict[str, list[Path]]:
    """Good parts to fit on and all test parts, as ast-edge lists them."""
    kinds = sorted(folder for folder in (data / "test").iterdir() if folder.is_dir())
    return {
        "train": sorted((data / "train" / "good" / "rgb").glob("*.png")),
        "test": [path for kind in kinds for path in sorted((kind / "rgb").glob("*.png"))],
    }


def _fitted(options: argparse.Namespace, good: list[Path]) -> Any:
    if options.peer == "patchcore":
        module = import_module("anomalib.models.image.patchcore.torch_model")
        model = module.PatchcoreModel(layers=LAYERS, backbone="resnet18", pre_trained=False)
    else:
        module = import_module("anomalib.models.image.padim.torch_model")
        model = module.PadimModel(layers=LAYERS, backbone="resnet18", pre_trained=False)
    trunk = model.feature_extractor.feature_extractor
    weights = {name: tensor.float() for name, tensor in load_file(options.weights).items()}
    missing = trunk.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise SystemExit(f"{options.weights}: lacks {', '.join(missing[:3])} ...")
    model.train()
    model.feature_extractor.eval()
    for batch in _batches(good, options):
        with torch.no_grad():
            model(batch)
    if options.peer == "patchcore":
        model.subsample_embedding(options.coreset)
    else:
        model.fit()
    return model.eval()


def _batches(paths: list[Path], options: argparse.Namespace) -> list[torch.Tensor]:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    batches = []
    for start in range(0, len(paths), BATCH):
        pictures = np.stack([_picture(path, options) for path in paths[start : start + BATCH]])
        batches.append((torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std)
    return batches


def _picture(path: Path, options: argparse.Namespace) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        colour = picture.convert("RGB")
    if options.crop:
        x, y, width, height = (int(number) for number in options.crop.split(","))
        colour = colour.crop((x, y, x + width, y + height))
    return np.asarray(colour.resize((options.size, options.size), Image.Resampling.BILINEAR))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("peer", choices=["patchcore", "padim"])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--crop", help="X,Y,W,H in pixels; without it the whole frame")
    parser.add_argument("--coreset", type=float, default=0.01, help="share of the patches PatchCore keeps")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
