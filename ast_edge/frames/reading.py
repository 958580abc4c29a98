"""Reading pictures, depth maps and masks from files. Incomplete files are refused.

A picture or mask with an EXIF orientation, as cameras and phones write it, is rotated accordingly, as viewers
and OpenCV do. A depth map with one is refused.
"""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ast_edge.errors import BackendError, DataError, UsageError, reason
from ast_edge.frames.depth import depth_unit
from ast_edge.wording import install_hint

IMAGE_SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".gif"}
)
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_COLOUR_MODES = frozenset({"L", "LA", "P", "PA", "RGB", "RGBA"})
_DEPTH_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_MASK_MODES = _COLOUR_MODES | _DEPTH_MODES | {"1", "I"}
# TIFF tag numbers
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _PLANAR, _SAMPLE_FORMAT, _ORIENTATION = 256, 257, 258, 277, 284, 339, 274
_IEEE_FLOAT = 3
UPRIGHT = 1
MAX_PIXELS = 178_956_970  # half a gigabyte of RGB; a tiny file can claim any size
# In the environment, so that reader processes inherit them.
_LIMIT = "AST_EDGE_MAX_PIXELS"
_DEPTH_SCALE = "AST_EDGE_DEPTH_SCALE"
_opening = threading.Lock()


def set_max_pixels(count: int) -> None:
    """Accept pictures of up to `count` pixels in this process and those that it starts."""
    os.environ[_LIMIT] = str(count)


def _max_pixels() -> int:
    text = os.environ.get(_LIMIT, "")
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"{_LIMIT}={text}: expected a number of pixels; correct or unset the variable.")
    return int(text or MAX_PIXELS)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > (limit := _max_pixels()):
        raise DataError(
            f"{path}: {width}x{height} pixels are {width * height / 1e6:.0f} megapixels, more than the limit "
            f"of {limit / 1e6:.0f}; if the picture is correct, raise the limit with --max-pixels or "
            f"{_LIMIT}."
        )


def set_depth_scale(metres: float) -> None:
    """One unit of an integer depth map is this long, in this process and those that it starts.

    Raises UsageError if `metres` is not above 0 and at most 1.
    """
    try:
        os.environ[_DEPTH_SCALE] = repr(depth_unit(metres))
    except ValueError as exc:
        raise UsageError(f"--depth-scale {metres:g}: {exc}.") from exc


def _depth_scale(path: Path) -> float:
    text = os.environ.get(_DEPTH_SCALE, "")
    if not text:
        raise DataError(
            f"{path}: its unit is unknown; give the metres of one unit with --depth-scale or {_DEPTH_SCALE}: "
            "0.001 if it holds millimetres."
        )
    try:
        return depth_unit(text)
    except ValueError as exc:
        raise UsageError(f"{_DEPTH_SCALE}={text}: {exc}; correct or unset the variable.") from exc


def list_images(folder: Path) -> list[Path]:
    """List the pictures directly in `folder`, sorted by name; hidden files are skipped.

    Raises DataError when `folder` cannot be listed; a folder without pictures gives an empty list.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as exc:
        raise DataError(
            f"{folder}: expected a folder of pictures, found none that can be listed ({reason(exc)})."
        ) from exc
    return [path for path in entries if _is_picture(path)]


def unread_pictures(folder: Path) -> str:
    """Describe pictures in `folder` of formats that are not supported; empty if there are none."""
    found = [path.name for path in folder.iterdir() if path.suffix.lower() in _UNREAD_SUFFIXES]
    if not found:
        return ""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"{folder}: {min(found)}{more} left out: HEIC, AVIF, JPEG XL, JPEG 2000, GIF, raw pictures are not "
        "read; save them as PNG or JPEG."
    )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def xyz_beside(image: Path) -> Path:
    """Return the depth map of a picture in the layout of MVTec 3D-AD: `rgb/000.png` -> `xyz/000.tiff`.

    A depth map of integers is `xyz/000.png`. Raises DataError if there is neither or both.
    """
    # For "000.png" and "../000.png" only the resolved folder has a parent.
    folder = image.parent.resolve() if image.parent.name in {"", ".."} else image.parent
    paths = [folder.parent / "xyz" / f"{image.stem}{suffix}" for suffix in (".tiff", ".png")]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise DataError(
            f"{image}: its depth map is missing, expected {paths[0]} or {paths[1].name}; "
            "put pictures into a folder rgb and depth maps of the same name into a folder xyz beside it."
        )
    if len(found) > 1:
        raise DataError(f"{image}: has two depth maps, {paths[0]} and {paths[1].name}; remove one.")
    return found[0]


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """Read a picture as uint8 RGB [H,W,3], rotated by its EXIF orientation.

    8-bit grey is repeated in three channels, palettes are resolved, alpha must be opaque everywhere.
    Raises DataError for a file that is damaged, truncated, deeper than 8 bits, too large or not a single
    picture.
    """
    path = Path(path)
    picture = _decoded(path, _COLOUR_MODES)
    if picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if np.asarray(picture)[..., 3].min() < 255:
            raise DataError(
                f"{path}: some pixels are transparent, expected all of them opaque; save it without alpha."
            )
    return np.array(picture.convert("RGB"))


def check_registered(image: Path, xyz: Path) -> None:
    """Raise DataError if a picture is to be rotated by its EXIF orientation: its depth map would not be."""
    if (orientation := orientation_of(image)) != UPRIGHT:
        raise DataError(
            f"{image}: has the EXIF orientation {orientation}, and its depth map {xyz} has none: they would "
            "not show the same place; save the picture as it was taken, without an orientation."
        )


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels after rotation, from the header. Raises DataError as `read_image`."""
    picture, orientation = _opened(path, _COLOUR_MODES)
    # Pillow gives the size of a TIFF before or after the rotation, depending on its version; the tags do not.
    tags = getattr(picture, "tag_v2", {})
    width, height = tags.get(_WIDTH, picture.width), tags.get(_HEIGHT, picture.height)
    return (height, width) if orientation >= 5 else (width, height)


def orientation_of(path: Path) -> int:
    """Return the EXIF orientation of a picture, 1 to 8; `UPRIGHT` if it is not rotated."""
    return _opened(path, _COLOUR_MODES)[1]


def read_mask(path: Path | str) -> NDArray[np.bool_]:
    """Read a mask as bool [H,W]: True where the value, in any colour channel, is above zero.

    Integer masks of any depth are supported, colour ones with 8 bits per channel; alpha is ignored. Rotated
    by the EXIF orientation. Raises DataError as `read_image` does.
    """
    path = Path(path)
    picture = _decoded(path, _MASK_MODES)
    # Pillow would weight colours when converting to grey, and round a faint one down to zero.
    colour = picture.mode in _COLOUR_MODES
    values = np.asarray(picture.convert("RGB")).max(axis=2) if colour else np.asarray(picture)
    mask: NDArray[np.bool_] = values > 0
    return mask


def read_depth_beside(image: Path, *, registered: bool, scale_m: float | None = None) -> NDArray[np.float32]:
    """Read the depth map beside a picture (see `xyz_beside`): float32 [H,W] in metres, 0 = not measured.

    With `registered` the picture is used too. `scale_m` as in `read_xyz`. Raises DataError if the depth map
    is missing or unusable, or `registered` and the picture is to be rotated.
    """
    path = xyz_beside(image)
    if registered:
        check_registered(image, path)
    return read_xyz(path, scale_m)


def read_xyz(path: Path | str, scale_m: float | None = None) -> NDArray[np.float32]:
    """Read the distance z in metres, float32 [H,W].

    From a float32 TIFF [H,W,3] of x, y and z, or from a PNG of 16-bit grey, of which one unit is `scale_m`
    metres long, by default as `set_depth_scale` or the environment says. Zero means no measurement. Raises
    DataError for a file that is damaged, truncated, of another kind, or contains NaN or infinity, and for
    integers without a unit; BackendError if a TIFF is to be read and OpenCV is missing.
    """
    path = Path(path)
    if path.suffix.lower() == ".png":
        return _read_integers(path, scale_m)
    data = _bytes(path)
    _check_xyz_header(data, path)
    cv2 = _opencv(path)
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as exc:
        raise DataError(f"{path}: OpenCV cannot decode the TIFF ({exc}); replace the file.") from exc
    if values is None:
        raise DataError(f"{path}: the TIFF is damaged or cut off; replace the file.")
    _expect_xyz(
        path, values.dtype == np.float32 and values.shape[2:] == (3,), f"{values.dtype} {values.shape}"
    )
    z: NDArray[np.float32] = np.ascontiguousarray(values[..., 0])  # OpenCV returns x, y, z as z, y, x
    if not np.isfinite(z).all():
        raise DataError(f"{path}: z holds NaN or infinity; write 0 where there is no measurement.")
    return z


def _read_integers(path: Path, scale_m: float | None) -> NDArray[np.float32]:
    """A PNG of 16-bit grey in metres."""
    picture, orientation = _opened(path, _MASK_MODES)
    if picture.format != "PNG" or picture.mode not in _DEPTH_MODES | {"I"}:
        raise DataError(
            f"{path}: expected a PNG of 16-bit grey, found a {picture.format} of mode {picture.mode}; write "
            "the depth map as 16-bit integers, or as a float32 TIFF of x, y and z in metres."
        )
    if orientation != UPRIGHT:
        raise DataError(f"{path}: is to be rotated (orientation {orientation}); write the depth map upright.")
    units = np.asarray(_decoded(path, _MASK_MODES), np.float64)
    metres: NDArray[np.float32] = (units * (_depth_scale(path) if scale_m is None else scale_m)).astype(
        np.float32
    )
    return metres


def _check_xyz_header(data: bytes, path: Path) -> None:
    """Refuse what OpenCV would silently misread: separate planes, integers, several pages."""
    stream = io.BytesIO(data)
    try:
        head = stream.read(8)
        head += stream.read(8) if head[2:3] == b"+" else b""  # the long header of a BigTIFF
        tags = ImageFileDirectory_v2(head)
        stream.seek(tags.next)
        tags.load(stream)
        samples, planes = tags.get(_SAMPLES, 1), tags.get(_PLANAR, 1)
        bits, formats = set(tags[_BITS]), set(tags.get(_SAMPLE_FORMAT, (1,)))
        width, height, turned = int(tags[_WIDTH]), int(tags[_HEIGHT]), tags.get(_ORIENTATION, UPRIGHT)
    except Exception as exc:  # a damaged header can raise almost any exception in Pillow
        raise DataError(f"{path}: is not a TIFF file, or its header is damaged; replace the file.") from exc
    _check_size(path, width, height)
    _expect_xyz(path, samples == 3, f"{samples} channels")
    _expect_xyz(path, formats == {_IEEE_FLOAT}, "integers")
    _expect_xyz(path, bits == {32}, f"{max(bits)} bits per channel")
    _expect_xyz(path, planes == 1, "one plane per channel")
    _expect_xyz(path, tags.next == 0, "several pages")
    _expect_xyz(path, turned == UPRIGHT, f"one to be rotated (orientation {turned})")


def _expect_xyz(path: Path, fits: bool, found: str) -> None:  # noqa: FBT001  private, always called by position
    if not fits:
        raise DataError(
            f"{path}: expected a float32 TIFF [height,width,3] with x, y and z in metres, found {found}; "
            "write it again in that form."
        )


def _opencv(path: Path) -> ModuleType:
    try:
        import cv2  # noqa: PLC0415  pictures without depth are read without OpenCV
    except ImportError as exc:
        raise BackendError(
            f"{path}: reading depth maps needs OpenCV, which is not installed; "
            f"run: {install_hint('cpu')} (on a Jetson use the OpenCV of JetPack)."
        ) from exc
    return cv2


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise DataError(
            f"{path}: cannot be read ({reason(exc)}); check the path and its permissions."
        ) from exc
    if not data:
        raise DataError(f"{path}: the file is empty; replace it.")
    return data


def _decoded(path: Path, modes: frozenset[str]) -> Image.Image:
    """Decode completely with Pillow, which refuses a truncated file where OpenCV fills it with grey."""
    picture, orientation = _opened(path, modes)
    try:
        picture.load()
        # Pillow itself rotates a TIFF while loading it.
        return picture if orientation == UPRIGHT else ImageOps.exif_transpose(picture)
    except Exception as exc:  # a damaged file can raise almost any exception in Pillow
        raise DataError(f"{path}: the picture is damaged or cut off ({exc}); replace the file.") from exc


def _opened(path: Path, modes: frozenset[str]) -> tuple[Image.Image, int]:
    """Return a picture with its header read and checked, and its orientation."""
    data = _bytes(path)
    try:
        with _opening:
            # Pillow's own limit gives no advice; ours is checked below.
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture = Image.open(io.BytesIO(data), formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        _check_size(path, picture.width, picture.height)
        _check_header(picture, path, modes)
        orientation = picture.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except (DataError, UsageError):
        raise
    except UnidentifiedImageError as exc:
        raise DataError(
            f"{path}: is not a PNG, JPEG, BMP, TIFF or WebP picture, or it is damaged; replace it."
        ) from exc
    except Exception as exc:
        raise DataError(f"{path}: the picture is damaged or cut off ({exc}); replace the file.") from exc
    return picture, orientation if orientation in range(1, 9) else UPRIGHT


def _check_header(picture: Image.Image, path: Path, modes: frozenset[str]) -> None:
    if _is_deep(picture) or (picture.mode.startswith("I") and picture.mode not in modes):
        raise DataError(
            f"{path}: the picture has more than 8 bits per channel; "
            "convert it to 8 bit with the camera's own scaling."
        )
    if picture.mode not in modes:
        raise DataError(
            f"{path}: expected 8-bit grey or RGB, found pixels of mode {picture.mode}; save it as one."
        )
    frames = getattr(picture, "n_frames", 1)
    if frames != 1:
        raise DataError(f"{path}: expected one picture, found {frames} in the file; save them one by one.")


def _is_deep(picture: Image.Image) -> bool:
    """Whether the picture has 16-bit colours, which Pillow would silently reduce to 8."""
    for _, _, _, arguments in getattr(picture, "tile", ()):
        raw_mode = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
        if ";16" in str(raw_mode) and raw_mode != "BGR;16" and not picture.mode.startswith("I"):
            return True  # BGR;16 packs a whole pixel of a BMP into 16 bits
    return False
