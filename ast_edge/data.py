"""Data sets from folders of pictures: MVTec 3D-AD, MVTec AD, and a plain folder of good pictures.

`open_dataset` tries three layouts in this order:

    mvtec-3d  train/good/{rgb,xyz}  validation/good/{rgb,xyz}  test/KIND/{rgb,xyz,gt}
    mvtec-ad  train/good            test/KIND                  ground_truth/KIND/STEM_mask.png
    folder    pictures of good parts directly in the folder; defective ones in a separate folder

Masks may be missing; pixel figures are then left out. Opening a dataset looks at names only; the content of a
file is checked when it is loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import DataError, UsageError, reason
from ast_edge.files import part_sha256, printable, sha256_file
from ast_edge.frames.reading import (
    check_registered,
    list_images,
    read_image,
    read_mask,
    read_xyz,
    unread_pictures,
    xyz_beside,
)
from ast_edge.model.manifest import Mode, ModelSpec
from ast_edge.progress import say

Layout = Literal["mvtec-3d", "mvtec-ad", "folder"]
GOOD = "good"


@dataclass(frozen=True)
class Sample:
    """One part: its picture, its xyz file in the depth modes, its mask if any, and its kind."""

    image: Path | None
    xyz: Path | None
    mask: Path | None
    defect: str = GOOD

    @property
    def name(self) -> Path:
        """The file that identifies this part in reports and error messages."""
        path = self.image or self.xyz
        if path is None:
            raise DataError("a sample has neither a picture nor an xyz file; it needs at least one.")
        return path


@dataclass(frozen=True)
class Dataset:
    """The parts of one product; `validation` is empty if the layout has no such split."""

    root: Path
    layout: Layout
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]


@dataclass(frozen=True)
class LoadedSample:
    """The inputs of a part in the mode: `image` uint8 [H,W,3] RGB, `depth_m` float32 [H,W], 0 = unknown."""

    image: NDArray[np.uint8] | None
    depth_m: NDArray[np.float32] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        picture = self.image if self.image is not None else self.depth_m
        assert picture is not None  # noqa: S101  # a loaded sample has one or the other
        return picture.shape[0], picture.shape[1]


def open_dataset(path: Path, *, mode: Mode, defective: Path | None = None, with_test: bool = True) -> Dataset:
    """Detect the layout of `path` and list its samples, every split sorted by name.

    `defective` applies to the plain folder: pictures directly in it are of the kind "defective", those in a
    subfolder of the kind named by it (a subfolder `good` adds good parts for testing only). Without
    `with_test` the folders of test parts and masks are ignored: training needs none. Raises DataError for a
    missing folder or file, UsageError for `defective` together with a layout that has its own test pictures.
    """
    _require_folder(path, "a data folder")
    good = path / "train" / GOOD
    if not good.is_dir():
        return _open_plain(path, mode, defective)
    if defective is not None:
        raise UsageError(
            f"{path}: has the layout of MVTec with its own test pictures, so a folder of defective pictures "
            f"({defective}) cannot be added; leave it out, or put its pictures into {path / 'test'}."
        )
    kinds = tuple(_kinds(path / "test")) if with_test else ()
    if (good / "rgb").is_dir():
        return _open_mvtec_3d(path, mode, kinds)
    return _open_mvtec_ad(path, mode, kinds)


def open_kinds(folder: Path) -> tuple[Sample, ...]:
    """List the pictures of a folder like MVTec's `test`: of each kind in the subfolder of its name.

    They lie directly in there, or in `rgb` in there. Raises DataError for a picture directly in `folder`, or
    a subfolder without pictures.
    """
    found = []
    for kind in _kinds(folder):
        below = kind / "rgb"
        found.append(_samples(_pictures(below if below.is_dir() else kind), kind.name))
    return tuple(chain.from_iterable(found))


def digest_of_part(sample: Sample, mode: Mode) -> str:
    """Return the SHA-256 of the inputs of `mode` of a part. Raises DataError like `load`."""
    files = [path for path in (sample.image, sample.xyz) if path is not None]
    if mode == "depth" and sample.xyz is not None:
        files = [sample.xyz]
    try:
        return part_sha256(files)
    except OSError as exc:
        raise _unreadable(sample.name, exc) from exc


def seen_parts(parts: Sequence[Sample], spec: ModelSpec) -> list[Sample]:
    """Return those of `parts` that the model was trained on; a file that cannot be read is none of them."""
    data, found = spec.training_data, []
    for part in parts if data.seen else ():
        with contextlib.suppress(DataError):  # an unreadable file becomes a fault
            if data.has_seen(digest_of_part(part, spec.mode)):
                found.append(part)
    return found


def refuse_seen(parts: Sequence[Sample], spec: ModelSpec, model: str = "the model") -> None:
    """UsageError naming parts that `model` was trained on, whose figures would be too good."""
    if seen := seen_parts(parts, spec):
        more = f" and {len(seen) - 1} more" if len(seen) > 1 else ""
        raise UsageError(
            f"{printable(seen[0].name)}{more} of {len(parts)} parts: {model} was trained on them, so their "
            "figures would be too good; leave them out."
        )


def fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """Return the SHA-256 over names relative to `root` and contents of pictures and xyz files, in order.

    The fingerprint is independent of where the files are. Raises DataError for an unreadable file.
    """
    digest = hashlib.sha256()
    for sample in samples:
        for role, path in (("image", sample.image), ("xyz", sample.xyz)):
            if path is None:
                continue
            name = os.fsencode(os.path.relpath(path, root))  # file names are bytes, not always UTF-8
            digest.update(b"%s\0%s\0%s\n" % (role.encode(), name, _content(path).encode()))
    return digest.hexdigest()


def load(sample: Sample, mode: Mode) -> LoadedSample:
    """Read the inputs of `mode` of a part. Raises DataError naming the missing or unusable file."""
    image = depth_m = None
    if mode != "depth":
        if sample.image is None:
            raise DataError(
                f"{sample.name}: has no picture, which mode {mode} needs; add it, or use mode depth."
            )
        image = read_image(sample.image)
    if mode != "rgb":
        if sample.xyz is None:
            raise DataError(
                f"{sample.name}: has no xyz file, which mode {mode} needs; add it, or use mode rgb."
            )
        depth_m = read_xyz(sample.xyz)
    if sample.image is not None and sample.xyz is not None and mode == "rgbd":
        check_registered(sample.image, sample.xyz)
    if image is not None and depth_m is not None and image.shape[:2] != depth_m.shape:
        raise DataError(
            f"{sample.xyz}: is {_size(depth_m.shape)} pixels but its picture {sample.image} is "
            f"{_size(image.shape)}; mode rgbd needs both registered to each other and of one size."
        )
    return LoadedSample(image, depth_m)


def load_mask(sample: Sample, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the defect's pixels as bool [H,W] of the given `shape`; all False for a good part.

    Raises DataError if a defective part has no mask, the mask differs in size from the picture, or a good
    part's mask is not empty.
    """
    if sample.mask is None:
        if sample.defect != GOOD:
            raise DataError(f"{sample.name}: there is no mask of its defect; add one to get pixel figures.")
        return np.zeros(shape, dtype=np.bool_)
    mask = read_mask(sample.mask)
    if mask.shape != tuple(shape):
        raise DataError(
            f"{sample.mask}: the mask is {_size(mask.shape)} pixels but its picture {sample.name} is "
            f"{_size(shape)}; make both the same size."
        )
    if sample.defect == GOOD and mask.any():
        raise DataError(
            f"{sample.mask}: marks {int(mask.sum())} pixels as defective although the part lies under "
            f"'{GOOD}'; move the part to the folder of its defect or clear the mask."
        )
    return mask


def _content(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({reason(exc)}); check the file and its permissions.")


def _open_mvtec_3d(root: Path, mode: Mode, kinds: Iterable[Path]) -> Dataset:
    """Open the layout of Bergmann et al., "The MVTec 3D-AD Dataset", VISAPP 2022."""
    held_out = root / "validation"
    test = [_samples(_pictures(kind / "rgb"), kind.name, mode=mode, masks=kind / "gt") for kind in kinds]
    return Dataset(
        root,
        "mvtec-3d",
        train=_samples(_pictures(root / "train" / GOOD / "rgb"), mode=mode),
        validation=_samples(_pictures(held_out / GOOD / "rgb"), mode=mode) if held_out.is_dir() else (),
        test=tuple(chain.from_iterable(test)),
    )


def _open_mvtec_ad(root: Path, mode: Mode, kinds: Iterable[Path]) -> Dataset:
    """Open the layout of Bergmann et al., "MVTec AD", CVPR 2019."""
    _refuse_depth(root, mode)
    test = [
        _samples(_pictures(kind), kind.name, masks=root / "ground_truth" / kind.name, mask_suffix="_mask")
        for kind in kinds
    ]
    train = _samples(_pictures(root / "train" / GOOD))
    return Dataset(root, "mvtec-ad", train, (), tuple(chain.from_iterable(test)))


def _open_plain(root: Path, mode: Mode, defective: Path | None) -> Dataset:
    images = list_images(root)
    _say_what_is_left_out(root)
    if not images:
        raise DataError(
            f"{root}: found no training pictures; expected train/good/rgb (layout of MVTec 3D-AD), "
            "train/good (layout of MVTec AD), or pictures of good parts directly in the folder."
        )
    _refuse_depth(root, mode)
    test: tuple[Sample, ...] = ()
    if defective is not None:
        _require_folder(defective, "the folder of defective pictures")
        if defective.resolve() == root.resolve():
            raise UsageError(
                f"{root}: cannot contain both the good and the defective parts; give two folders."
            )
        test = _defective(defective)
    return Dataset(root, "folder", _samples(images), (), test)


def _defective(folder: Path) -> tuple[Sample, ...]:
    direct = _samples(list_images(folder), "defective")
    by_kind = [_samples(_pictures(kind), kind.name) for kind in _subfolders(folder)]
    if not direct and not by_kind:
        raise DataError(f"{folder}: no pictures in it or in a subfolder; add pictures of defective parts.")
    return direct + tuple(chain.from_iterable(by_kind))


def _samples(
    images: Sequence[Path],
    defect: str = GOOD,
    *,
    mode: Mode = "rgb",
    masks: Path | None = None,
    mask_suffix: str = "",
) -> tuple[Sample, ...]:
    """Return one sample per picture, with its xyz file and its mask in the folder `masks`."""
    return tuple(
        Sample(
            image,
            None if mode == "rgb" else xyz_beside(image),
            None if masks is None else _mask(masks / f"{image.stem}{mask_suffix}.png"),
            defect,
        )
        for image in images
    )


def _mask(path: Path) -> Path | None:
    return path if path.is_file() else None


def _kinds(test: Path) -> Iterator[Path]:
    """Yield the subfolders of `test`, one per kind of defect; training needs no test pictures."""
    if not test.is_dir():
        return
    if stray := list_images(test):
        raise DataError(f"{stray[0]}: lies directly in {test}; move it to a subfolder named after its kind.")
    yield from _subfolders(test)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path) -> tuple[Path, ...]:
    _require_folder(folder, "a folder of pictures")
    images = tuple(list_images(folder))
    _say_what_is_left_out(folder)
    if not images:
        raise DataError(f"{folder}: no pictures in it; add some (png, jpg, bmp, tiff, webp) or remove it.")
    return images


def _say_what_is_left_out(folder: Path) -> None:
    if said := unread_pictures(folder):
        say(said)


def _require_folder(folder: Path, what: str) -> None:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(f"{folder}: expected {what}, found {found}; check the path.")


def _refuse_depth(root: Path, mode: Mode) -> None:
    if mode != "rgb":
        raise DataError(
            f"{root}: mode {mode} needs an xyz file for every picture, which only the layout of MVTec 3D-AD "
            "has (train/good/rgb and train/good/xyz); use this layout or mode rgb."
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
