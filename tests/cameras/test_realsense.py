"""RealSense: recordings of the SDK, made by its own software device, through its pipeline and alignment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.cameras.opening import list_cameras, open_camera
from ast_edge.doctor.cameras import look_at_realsense
from ast_edge.errors import CameraError, UsageError
from tests.cameras.realsense_recording import FOCAL, PERIOD_MS, UNITS_M, Shot, record

pytest.importorskip("pyrealsense2", reason="the RealSense SDK is not installed")

HEIGHT, WIDTH = 48, 64


def shot(number: int, late_ms: float = 0.0) -> Shot:
    """Both halves contain the number."""
    return Shot(
        np.full((HEIGHT, WIDTH, 3), number, np.uint8),
        np.full((HEIGHT, WIDTH), 5000 + number, np.uint16),
        late_ms,
    )


def frames_of(camera: Camera, most: int = 1000) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < most and isinstance(frame := camera.read(5), Frame):
        frames.append(frame)
    return frames


def numbers_in(frame: Frame) -> tuple[int, int]:
    """The numbers of the picture and of the depth map."""
    assert frame.pixels is not None
    assert frame.depth_m is not None
    return int(frame.pixels.max()), round(float(frame.depth_m.max()) / UNITS_M) - 5000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty shots; the depth sensor is half a period and more late at three of them."""
    path = tmp_path_factory.mktemp("realsense") / "parts.db3"
    record(path, [shot(number, 20.0 if number in {5, 6, 12} else 0.0) for number in range(20)])
    return path


@pytest.mark.slow
def test_picture_and_depth_map_are_of_one_moment(recording: Path) -> None:
    with open_camera(f"realsense://{recording}") as camera:
        frames = frames_of(camera)
        assert camera.read(1) is NoFrame.END
        assert camera.counters["frames"] == len(frames)
        assert camera.counters["unpaired"] >= 3
    assert len(frames) >= 12
    for frame in frames:
        picture, depth = numbers_in(frame)
        late_ms = 20.0 if depth in {5, 6, 12} else 0.0
        assert abs((depth - picture) * PERIOD_MS + late_ms) <= PERIOD_MS / 2
        assert frame.device_ns == pytest.approx((1000 + picture * PERIOD_MS) * 1e6, abs=1e3)
        assert (frame.colour, frame.exposed_from_ns) == ("rgb", frame.host_ns)
    numbers = [frame.number for frame in frames]
    pictures = [numbers_in(frame)[0] for frame in frames]
    assert np.diff(numbers).tolist() == np.diff(pictures).tolist()  # a discarded pair leaves a gap


def test_skew_ms_decides_what_a_pair_is(recording: Path) -> None:
    with open_camera(f"realsense://{recording}?skew_ms=25") as camera:
        assert {5, 6, 12} & {
            depth for picture, depth in map(numbers_in, frames_of(camera)) if picture == depth
        }


def test_a_recording_that_loops_goes_on_with_its_numbers(recording: Path) -> None:
    with open_camera(f"realsense://{recording}?loop=1") as camera:
        numbers = [frame.number for frame in frames_of(camera, 40)]
    assert len(numbers) == 40
    assert all(later > earlier for earlier, later in itertools.pairwise(numbers))


def stripe(columns: slice) -> NDArray[np.uint16]:
    """A near stripe over a far plane, in the unit of the recording."""
    depth = np.full((HEIGHT, WIDTH), 10_000, np.uint16)
    depth[:, columns] = 5000
    return depth


def test_the_depth_map_is_registered_to_the_picture(tmp_path: Path) -> None:
    """Near places move by focal length * shift / distance, twice as far as distant ones."""
    shift_m = 0.05
    near, far = FOCAL * shift_m / 0.5, FOCAL * shift_m / 1.0
    assert (near, far) == (6.0, 3.0)
    shots = [
        Shot(np.full((HEIGHT, WIDTH, 3), number, np.uint8), stripe(slice(20, 30))) for number in range(8)
    ]
    record(tmp_path / "beside.db3", shots, shift_m=shift_m)
    with open_camera(f"realsense://{tmp_path / 'beside.db3'}") as camera:
        (frame,) = frames_of(camera, 1)
    assert frame.depth_m is not None
    row = frame.depth_m[HEIGHT // 2]
    assert np.flatnonzero(np.isclose(row, 0.5)).tolist() == pytest.approx(list(range(26, 36)), abs=1)
    assert row[:2].tolist() == [0.0, 0.0]  # the depth sensor does not see what is left of its picture
    assert np.isclose(row[5:22], 1.0).all()
    assert (row[23:25] == 0).all()  # behind the near stripe, seen from the depth sensor


def test_places_without_a_measurement_are_zero(tmp_path: Path) -> None:
    holes = shot(1).depth.copy()
    holes[10:20, 30:40] = 0
    record(tmp_path / "holes.db3", [Shot(shot(n).pixels, holes) for n in range(6)])
    with open_camera(f"realsense://{tmp_path / 'holes.db3'}") as camera:
        (frame,) = frames_of(camera, 1)
    assert frame.depth_m is not None
    assert frame.depth_m.dtype == np.float32
    assert np.array_equal(frame.depth_m == 0, holes == 0)


REFUSED: Sequence[tuple[str, type[Exception], str]] = (
    ("realsense://", CameraError, r"\(cameras found: none\); check the cable"),
    ("realsense://0815", CameraError, "^realsense://0815: no camera with this serial number answers"),
    ("realsense:///nowhere.db3?skew_ms=0", UsageError, "skew_ms=0 is not possible"),
    ("realsense:///nowhere.db3", CameraError, "there is no file /nowhere.db3"),
    (
        "realsense://0815?loop=1",
        UsageError,
        "no option loop; realsense:// accepts width, height, fps, skew_ms",
    ),
    ("realsense:///nowhere.db3?fps=30", UsageError, "no option fps; realsense:// accepts loop, skew_ms"),
    ("realsense://?fps=0.5", UsageError, "fps=0.5 is not possible"),
)


@pytest.mark.parametrize(("uri", "kind", "words"), REFUSED)
def test_what_is_refused(uri: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        open_camera(uri)


def test_files_that_are_no_recording_of_both(tmp_path: Path, recording: Path) -> None:
    (tmp_path / "text.db3").write_text("no database")
    (tmp_path / "half.db3").write_bytes(recording.read_bytes()[: recording.stat().st_size // 2])
    record(tmp_path / "depth_only.db3", [shot(number) for number in range(5)], colour=False)
    for name in ("text", "half", "depth_only"):
        with (
            pytest.raises(CameraError, match=f"{name}.db3: ") as refusal,
            open_camera(f"realsense://{tmp_path / name}.db3") as camera,
        ):
            camera.read(1)
        assert "\n" not in str(refusal.value)


def test_closing_ends_a_read(recording: Path) -> None:
    camera = open_camera(f"realsense://{recording}")
    camera.close()
    camera.close()
    assert camera.state == "closed"
    with pytest.raises(CameraError, match="was closed"):
        camera.read(1)


def test_doctor_and_list_without_a_camera() -> None:
    (finding,) = look_at_realsense()
    assert (finding.level, finding.what) == ("ok", "RealSense")
    assert not [camera for camera in list_cameras() if camera.uri.startswith("realsense")]
