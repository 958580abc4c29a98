"""Recordings made with the RealSense SDK: its software device plays frames, its recorder writes the file."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

UNITS_M = 0.0001
PERIOD_MS = 1000 / 30
FOCAL = 60.0  # of both lenses, in pixels


class Shot(NamedTuple):
    """What both sensors see at once."""

    pixels: NDArray[np.uint8]  # [H,W,3] RGB
    depth: NDArray[np.uint16]  # [H,W] in `UNITS_M`
    late_ms: float = 0.0  # of the depth sensor


def record(path: Path, shots: Sequence[Shot], *, shift_m: float = 0.0, colour: bool = True) -> None:
    """Write `shots`, 30 a second, as a recording of the SDK.

    A point lies `shift_m` further along x as the colour sensor sees it. Without `colour` only the depth
    sensor is recorded.
    """
    import pyrealsense2 as rs  # noqa: PLC0415

    device = rs.software_device()
    device.register_info(rs.camera_info.name, "Generated")
    device.register_info(rs.camera_info.serial_number, "0001")
    depth_sensor = device.add_sensor("Stereo Module")
    depth = _added(rs, depth_sensor, rs.stream.depth, shots[0])
    depth_sensor.add_read_only_option(rs.option.depth_units, UNITS_M)
    sensors = [(depth_sensor, depth)]
    if colour:
        colour_sensor = device.add_sensor("RGB Camera")
        picture = _added(rs, colour_sensor, rs.stream.color, shots[0])
        beside = rs.extrinsics()
        beside.rotation, beside.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [shift_m, 0, 0]
        depth.register_extrinsics_to(picture, beside)
        sensors.append((colour_sensor, picture))
    recorder = rs.recorder(str(path), device)
    queue = rs.frame_queue(2 * len(shots) + 1)
    recorded = recorder.query_sensors()
    for each in recorded:
        each.open(each.get_stream_profiles())
        each.start(queue)
    for number, shot in enumerate(shots):
        for sensor, profile in sensors:
            sensor.on_video_frame(_frame(rs, profile, shot, number))
        time.sleep(PERIOD_MS / 1e3)  # the recorder drops what comes faster
    for each in recorded:
        each.stop()
        each.close()
    del recorder, recorded, each
    gc.collect()  # the file is complete when the recorder is gone


def _added(rs: Any, sensor: Any, kind: Any, shot: Shot) -> Any:
    """Add a stream of the shot's size to a sensor of the software device."""
    of_depth = kind == rs.stream.depth
    stream, lens = rs.video_stream(), rs.intrinsics()
    lens.height, lens.width = stream.height, stream.width = shot.depth.shape
    lens.ppx, lens.ppy = lens.width / 2, lens.height / 2
    lens.fx = lens.fy = FOCAL
    lens.model, lens.coeffs = rs.distortion.brown_conrady, [0.0] * 5
    stream.type, stream.index, stream.uid, stream.fps = kind, 0, int(not of_depth), 30
    stream.fmt, stream.bpp = (rs.format.z16, 2) if of_depth else (rs.format.rgb8, 3)
    stream.intrinsics = lens
    return sensor.add_video_stream(stream, True)


def _frame(rs: Any, profile: Any, shot: Shot, number: int) -> Any:
    frame = rs.software_video_frame()
    frame.profile = profile.as_video_stream_profile()
    of_depth = profile.stream_type() == rs.stream.depth
    frame.pixels = shot.depth if of_depth else shot.pixels
    frame.bpp = 2 if of_depth else 3
    frame.stride = shot.depth.shape[1] * frame.bpp
    frame.timestamp = 1000 + number * PERIOD_MS + (shot.late_ms if of_depth else 0.0)
    frame.domain, frame.frame_number = rs.timestamp_domain.system_time, number
    if of_depth:
        frame.depth_units = UNITS_M
    return frame
