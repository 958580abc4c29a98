"""Features of all parts, extracted once into a memory-mapped cache.

The name of a cache folder is a digest of everything that determines its content: the data's fingerprint, the
trunk with its weights, the mode and the preprocessing. The cache is filled batch by batch and records its
progress, so that a killed run continues where it stopped and reads the same numbers. Its disk blocks are
allocated before they are mapped: writing to a mapped hole on a full disk would kill the process. The least
recently used caches are removed when all of them exceed `AST_EDGE_CACHE_GB` (20).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ast_edge.data import LoadedSample, Sample, load
from ast_edge.errors import AstEdgeError, DataError, FrameError, RunError, UsageError, reason
from ast_edge.files import claim, remove_leftovers, write_text
from ast_edge.frames.depth import depth_input
from ast_edge.frames.preprocess import image_input
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Mode, Preprocessing
from ast_edge.train.backbone import Trunk
from ast_edge.train.checkpoint import state_digest
from ast_edge.train.config import TrainConfig
from ast_edge.train.network import extract, feature_channels, looked_at

CACHE_FORMAT = 1
BATCH = 8
STD_FLOOR = 0.05
_STEP = 64  # parts read at once for statistics


@dataclass(frozen=True)
class Features:
    """Features float32 [parts,C,h,h] and mask weights float32 [parts,1,h,h].

    The weights are those of the foreground in the modes with depth, or of a region of interest, the same for
    all parts; None: all places.

    With `chosen`, indices of parts, these are the features of those parts only, in that order.
    """

    features: NDArray[np.float32]
    mask: NDArray[np.float32] | None
    chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.features if self.chosen is None else self.chosen)

    def only(self, index: NDArray[np.int64]) -> Features:
        """The features of some of these parts, without reading them."""
        return Features(self.features, self.mask, index if self.chosen is None else self.chosen[index])

    def read(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Features and mask of the parts `index`, read into memory."""
        rows = index if self.chosen is None else self.chosen[index]
        return self.features[rows], None if self.mask is None else self.mask[rows]

    def batch(self, index: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return features and mask of the parts `index` as tensors on `device`."""
        features, mask = self.read(index)
        moved = None if mask is None else torch.from_numpy(mask).to(device)
        return torch.from_numpy(features).to(device), moved


def network_inputs(sample: Sample, mode: Mode, spec: Preprocessing) -> dict[str, Array]:
    """Return the network's inputs for one part, without batch dimension. DataError names an unusable file."""
    return inputs_of(load(sample, mode), sample, spec)


def inputs_of(loaded: LoadedSample, sample: Sample, spec: Preprocessing) -> dict[str, Array]:
    """Return the inputs of a part that was read; errors name `sample`."""
    inputs: dict[str, Array] = {}
    try:
        if loaded.image is not None:
            inputs["image"] = image_input(loaded.image, "rgb", spec)
        depth = None if loaded.depth_m is None else depth_input(loaded.depth_m, spec)
    except FrameError as exc:
        raise DataError(f"{sample.name}: {exc}") from exc
    if depth is not None:
        if depth.empty:
            raise DataError(f"{sample.xyz}: no part stands out from the background by --foreground-min-mm.")
        inputs |= {"depth": depth.depth, "foreground": depth.foreground}
    return inputs


class _Parts(Dataset[dict[str, Array] | AstEdgeError]):
    """Inputs of all parts; an error is returned as a value, since a worker process would mangle it."""

    def __init__(self, samples: Sequence[Sample], config: TrainConfig) -> None:
        self.samples, self.mode, self.spec = samples, config.mode, config.preprocessing

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Array] | AstEdgeError:
        try:
            return network_inputs(self.samples[index], self.mode, self.spec)
        except AstEdgeError as exc:
            return exc


def input_batches(
    samples: Sequence[Sample], config: TrainConfig, *, workers: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Yield inputs of `samples` in order, in batches of `BATCH`; raises the DataError of a bad file."""
    loader = DataLoader(_Parts(samples, config), batch_size=BATCH, num_workers=workers, collate_fn=list)
    for parts in loader:
        for part in parts:
            if isinstance(part, AstEdgeError):
                raise part
        yield {name: torch.from_numpy(np.stack([part[name] for part in parts])) for name in parts[0]}


def cache_key(fingerprint: str, config: TrainConfig, trunk: Trunk | None, *, held_out: Sequence[str]) -> str:
    """Name the cache folder by a digest of everything that determines the features and their order.

    `fingerprint` covers all parts; those named in `held_out` come last.
    """
    about = {
        "format": CACHE_FORMAT,
        "torch": torch.__version__,
        "fingerprint": fingerprint,
        "held_out": list(held_out),
        "mode": config.mode,
        "backbone": None if trunk is None else config.backbone.model_dump(mode="json"),
        "weights": None if trunk is None else state_digest(trunk.state_dict()),
        "preprocessing": config.preprocessing.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Extraction:
    """One job: the parts, the trunk, the device and the cache folder."""

    samples: Sequence[Sample]
    config: TrainConfig
    trunk: Trunk | None
    device: torch.device
    folder: Path
    workers: int = 0

    def run(self, advance: Callable[[int], None]) -> Features:
        """Fill the cache if it is incomplete, and map it; `advance` is called with the number of parts done.

        Raises DataError for an unusable file, RunError when another process fills the same cache.
        """
        with _claimed(self.folder):
            remove_leftovers(self.folder)
            return self._fill(advance)

    def _fill(self, advance: Callable[[int], None]) -> Features:
        done = self._done()
        if done == len(self.samples):
            advance(done)
            return self._complete()
        if not done:
            prune(self.folder.parent, keep=self.folder)
        maps = self._open("r+") if done else self._create()
        advance(done)
        batches = input_batches(self.samples[done:], self.config, workers=self.workers)
        for inputs in batches:
            features = self._extract(inputs)
            if not np.isfinite(features).all():
                raise RunError(
                    "the backbone yields NaN or infinity for these pictures: its weights are damaged or of "
                    "another network; give others with --weights."
                )
            maps["features"][done : done + len(features)] = features
            if "mask" in maps:
                maps["mask"][done : done + len(features)] = self._mask(inputs["foreground"])
            done += len(features)
            for array in maps.values():
                array.flush()
            write_text(self.folder / "progress.json", json.dumps({"done": done}))
            advance(len(features))
        return self._complete()

    def _complete(self) -> Features:
        """The features, with the mask that was cached or else that of the region of interest."""
        found = self._open("r")
        places = looked_at(self.config)
        if places is not None:
            mask = self._mask(places)
            found["mask"] = np.broadcast_to(mask, (len(self.samples), *mask.shape[1:]))
        return Features(**{"mask": None, **found})

    def _extract(self, inputs: dict[str, Tensor]) -> NDArray[np.float32]:
        image, depth = (
            inputs[name].to(self.device) if name in inputs else None for name in ("image", "depth")
        )
        with torch.inference_mode():
            features: NDArray[np.float32] = extract(self.trunk, image, depth).cpu().numpy()
        return features

    def _mask(self, foreground: Tensor) -> NDArray[np.float32]:
        """Return the mask on the grid of the features: a place counts if any map place in it does."""
        finer = foreground.shape[-1] // self.config.grid
        mask: NDArray[np.float32] = F.max_pool2d(foreground, finer).numpy()
        return mask

    def _done(self) -> int:
        """Return the number of completely cached parts; 0 if the cache is damaged and must be refilled."""
        try:
            done = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))["done"]
            # Read-only: opened for writing, a truncated file would be extended with zeros.
            counts = {len(array) for array in self._open("r").values()}
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        # Only whole batches count: others would be split and rounded differently.
        possible = (*range(0, len(self.samples), BATCH), len(self.samples))
        whole = counts == {len(self.samples)} and isinstance(done, int) and done in possible
        return int(done) if whole else 0

    def _paths(self) -> dict[str, Path]:
        names = ("features",) if self.config.mode == "rgb" else ("features", "mask")
        return {name: self.folder / f"{name}.npy" for name in names}

    def _create(self) -> dict[str, Any]:
        count, grid = len(self.samples), self.config.grid
        channels = {"features": feature_channels(self.trunk, self.config), "mask": 1}
        (self.folder / "progress.json").unlink(missing_ok=True)
        for name, path in self._paths().items():
            shape = (count, channels[name], grid, grid)
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        return self._open("r+")

    def _open(self, mode: Literal["r", "r+"]) -> dict[str, Any]:
        if mode == "r+":
            self._allocate()
        return {name: np.lib.format.open_memmap(path, mode=mode) for name, path in self._paths().items()}

    def _allocate(self) -> None:
        """Allocate the disk blocks now. RunError, and no cache, if the disk has too little space."""
        sizes = {path: path.stat().st_size for path in self._paths().values()}
        try:
            for path, size in sizes.items():
                with path.open("rb+") as stream:
                    os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as exc:
            for path in sizes:
                path.unlink(missing_ok=True)
            raise RunError(
                f"{self.folder}: the features take {_size(sum(sizes.values()))}, which this disk does not "
                f"have ({reason(exc)}; {_size(shutil.disk_usage(self.folder).free)} are free); free space or "
                "set AST_EDGE_CACHE to a folder on another disk."
            ) from exc


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Lock the cache `folder`. RunError while another process fills it."""
    lock = folder / "lock"
    while True:
        try:
            stream = claim(lock)
        except BlockingIOError as exc:
            raise RunError(
                f"{folder}: another run is extracting the same features; wait for it, then start again."
            ) from exc
        with stream:
            # Pruned by another run between opening and locking: the lock is on a deleted file.
            if os.fstat(stream.fileno()).st_nlink:
                os.utime(lock)  # used now
                yield
                return


def prune(folder: Path, *, keep: Path) -> None:
    """Remove the least recently used caches in `folder`, except `keep`, beyond the limit in gigabytes."""
    limit = _limit_bytes()
    used = []
    for lock in folder.glob("*/lock"):
        with contextlib.suppress(FileNotFoundError):  # another run removes caches, too
            used.append((lock.stat().st_mtime, lock.parent))
    total = 0
    for _, cache in sorted(used, reverse=True):
        if cache == keep:
            continue
        total += _stored_bytes(cache)
        if total > limit:
            # A cache in use is left alone.
            with contextlib.suppress(RunError, FileNotFoundError), _claimed(cache):
                shutil.rmtree(cache)


def _stored_bytes(folder: Path) -> int:
    """Bytes on disk of the files directly in `folder`; one that vanishes meanwhile has none."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.lstat().st_blocks * 512
    return total


def _limit_bytes() -> float:
    text = os.environ.get("AST_EDGE_CACHE_GB", "20")
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise UsageError(f"AST_EDGE_CACHE_GB={text}: expected gigabytes as a number, 0 or more.")
    return limit * 1e9


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def channel_statistics(features: Features) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel, each [1,C,1,1], over all pixels or those of the mask.

    Deviations are at least a twentieth of the median one: dividing by a tiny deviation would only amplify
    rounding errors.
    """
    channels = features.features.shape[1]
    total, squares, weight = np.zeros(channels), np.zeros(channels), 0.0
    for start in range(0, len(features), _STEP):
        x, mask = features.read(np.arange(start, min(start + _STEP, len(features))))
        x = x.astype(np.float64)
        w = np.ones_like(x[:, :1]) if mask is None else mask.astype(np.float64)
        total += (x * w).sum(axis=(0, 2, 3))
        squares += (x * x * w).sum(axis=(0, 2, 3))
        weight += float(w.sum())
    mean = total / weight
    std = np.sqrt(np.maximum(squares / weight - mean**2, 0.0))
    varying = std[std > 0]
    floor = STD_FLOOR * float(np.median(varying)) if varying.size else 1.0
    std = np.maximum(std, floor)
    return tuple(torch.from_numpy(v).float().view(1, -1, 1, 1) for v in (mean, std))  # type: ignore[return-value]
