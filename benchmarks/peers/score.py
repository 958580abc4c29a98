"""Judge what `run_anomalib.py` wrote with the metrics that judge our own models; writes a result file.

python -m benchmarks.peers.score DATA peer.npz [-o benchmarks/results/peers]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ast_edge.data import GOOD, Sample, load_mask, open_dataset
from ast_edge.files import write_text
from ast_edge.train import metrics
from benchmarks.common import machine
from benchmarks.common.paths import RESULTS

SCHEMA_VERSION = 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("answers", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "peers")
    options = parser.parse_args()
    for path in options.answers:
        answer = np.load(path, allow_pickle=False)
        about = json.loads(str(answer["about"]))
        samples = open_dataset(options.data, mode="rgb").test
        names = [sample.name.relative_to(options.data).as_posix() for sample in samples]
        if names != answer["names"].tolist():
            raise SystemExit(f"{path}: was made from other parts than {options.data} holds.")
        result = {
            "schema_version": SCHEMA_VERSION,
            "benchmark": "peer",
            "command": _command(about, options.data.name),
            "dataset": options.data.name,
            **about,
            "figures": figures(samples, answer["scores"], answer["maps"], about["crop"]),
            "machine": machine.facts(),
        }
        write_text(options.output / f"{_name(about)}.json", json.dumps(result, indent=1) + "\n")
    return 0


def figures(
    samples: tuple[Sample, ...], scores: NDArray[np.float64], maps: NDArray[np.float32], crop: str | None
) -> dict[str, float | None]:
    """Image and pixel figures; as with our models the whole frame counts, outside the crop as no anomaly."""
    defective = np.array([sample.defect != GOOD for sample in samples])

    def pixels(sample: Sample, values: NDArray[np.float32]) -> tuple[metrics.Flags, metrics.Map]:
        picture = cv2.imread(str(sample.name))
        assert picture is not None  # noqa: S101  # it was read before
        shape = picture.shape[0], picture.shape[1]
        x, y, width, height = map(int, crop.split(",")) if crop else (0, 0, shape[1], shape[0])
        whole = np.full(shape, -np.inf, np.float32)
        whole[y : y + height, x : x + width] = cv2.resize(values, (width, height))
        return load_mask(sample, shape), whole

    found = metrics.pixel_figures(
        (pixels(sample, values) for sample, values in zip(samples, maps, strict=True)),
        metrics.histogram_edges(maps.ravel()),
    )
    return {
        "image_auroc": metrics.auroc(defective, scores),
        "image_ap": metrics.average_precision(defective, scores),
        "image_f1max": metrics.f1_max(defective, scores),
        "pixel_auroc": None if found is None else found.auroc,
        "pixel_ap": None if found is None else found.ap,
        "aupro_30": None if found is None else found.aupro[0.3],
        "aupro_05": None if found is None else found.aupro[0.05],
    }


def _name(about: dict[str, Any]) -> str:
    share = f"_{about['coreset']:.0%}".rstrip("%") if about["coreset"] else ""
    return f"{about['peer']}{share}_{about['size']}_{'crop' if about['crop'] else 'frame'}"


def _command(about: dict[str, object], data: str) -> list[str]:
    words = ["run_anomalib.py", str(about["peer"]), data, "--weights", "resnet18_stages123.safetensors"]
    words += ["--size", str(about["size"])]
    words += ["--crop", str(about["crop"])] if about["crop"] else []
    for option in ("coreset", "epochs"):
        words += [f"--{option}", str(about[option])] if about[option] else []
    return words


if __name__ == "__main__":
    sys.exit(main())
