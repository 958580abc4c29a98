"""The sections of line.toml and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

from pydantic import Field, model_validator
from typing_extensions import Self

from ast_edge.backends.choice import Engine, Provider
from ast_edge.cameras.supervised import Policy, Watch
from ast_edge.cameras.uri import CameraUri, parse_uri
from ast_edge.errors import AstEdgeError, UsageError
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.audit.log import AuditOptions
from ast_edge.line.config.options import Milliseconds, Name, Options, Seconds
from ast_edge.line.config.toml_file import read_toml
from ast_edge.line.gate.gate import GateOptions
from ast_edge.line.outputs.ethernet_ip import EthernetIpOutputOptions
from ast_edge.line.outputs.gpio import GpioOutputOptions
from ast_edge.line.outputs.modbus import ModbusOutputOptions
from ast_edge.line.outputs.mqtt import MqttOutputOptions
from ast_edge.line.outputs.opcua import OpcUaOptions
from ast_edge.line.outputs.plc import PlcOutputOptions
from ast_edge.line.outputs.s7 import S7OutputOptions
from ast_edge.line.outputs.webhook import WebhookOptions
from ast_edge.line.station.timing import Timing
from ast_edge.line.triggers.ethernet_ip import EthernetIpTriggerOptions
from ast_edge.line.triggers.freshness import NEEDS_AGE, USUAL_GAP_MS, GapMs
from ast_edge.line.triggers.gpio import GpioTriggerOptions
from ast_edge.line.triggers.modbus import ModbusTriggerOptions
from ast_edge.line.triggers.mqtt import MqttTriggerOptions
from ast_edge.line.triggers.polled import PolledOptions
from ast_edge.line.triggers.s7 import S7TriggerOptions
from ast_edge.line.triggers.timer import TimerTriggerOptions
from ast_edge.line.watching.alarms import AlarmOptions
from ast_edge.line.watching.drift import DriftOptions
from ast_edge.line.watching.logs import LogOptions
from ast_edge.line.web.server import WebOptions

# Cameras whose frame numbers include frames lost in transit.
_COUNTING = ("gige", "dir", "file", "synthetic")
# Cameras that do not report exposure or transit times.
_UNTOLD = ("rtsp", "csi", "gst")
# Recorded pictures: no part lies in front of a lens.
_RECORDED = ("dir", "file", "synthetic")
# Cameras whose place is a path.
_FILES = ("dir", "file")


class StationSection(Options):
    """`name` appears in every message of this station."""

    name: Name = "station"


class CameraSection(Options):
    """`uri`: which camera, as in `ast_edge.cameras.opening`. Without a frame for `stall_s` seconds the camera
    counts as stalled, for `lost_s` as lost, and it is opened again. Up to `kept` frames wait for the
    inspection. `delay_ms` is the maximum time from exposure to arrival, for a camera that does not report it.
    """

    uri: Annotated[str, Field(min_length=4, max_length=4096)]
    stall_s: Seconds = 2.0
    lost_s: Seconds = 5.0
    kept: Annotated[int, Field(ge=1, le=256)] = 16
    delay_ms: Milliseconds | None = None

    @model_validator(mode="after")
    def _can_be(self) -> CameraSection:
        if self.lost_s <= self.stall_s:
            raise ValueError("lost_s must be longer than stall_s")
        try:
            parse_uri(self.uri)
        except AstEdgeError as exc:
            raise ValueError(str(exc)) from exc
        return self

    @property
    def parsed(self) -> CameraUri:
        """The parts of `uri`."""
        return parse_uri(self.uri)

    @property
    def software_trigger(self) -> bool:
        """Whether the station triggers each frame of the camera."""
        return self.parsed.options.get("trigger") == "software"

    @property
    def triggered(self) -> bool:
        """Whether the camera waits for a trigger from any source."""
        return self.parsed.options.get("trigger", "off") != "off"


class RecipesSection(Options):
    """`models` maps each recipe to its model or engine; the line starts with `first`.

    `threads` of the engine on a CPU, by default one per core. `backend` is the library that runs models:
    `onnxruntime`, `openvino`, or `auto`, which is the usual: the one that `ast-edge verify --backend auto`
    measured as the faster on this machine, else ONNX Runtime. `provider` is an execution provider of ONNX
    Runtime, `device` a device of OpenVINO (GPU, NPU, AUTO); without either the CPU computes. `allow_cpu`
    accepts that they leave nodes of the network to the CPU.
    """

    first: Name
    models: Annotated[dict[Name, Path], Field(min_length=1, max_length=256)]
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    backend: Literal["auto", "onnxruntime", "openvino"] | None = None
    provider: Provider | None = None
    device: Annotated[str, Field(pattern=r"^[A-Z]+[A-Z0-9.:,_]*$", max_length=64)] | None = None
    allow_cpu: bool = False

    @property
    def engine(self) -> Engine:
        """Library and processor."""
        return Engine(self.backend, self.provider, self.device, self.allow_cpu)

    @model_validator(mode="after")
    def _engine_exists(self) -> RecipesSection:
        try:
            _ = self.engine
        except UsageError as exc:
            raise ValueError(str(exc)) from exc
        return self

    @model_validator(mode="after")
    def _first_is_one(self) -> RecipesSection:
        if self.first not in self.models:
            raise ValueError(f"first = {self.first!r} is not among the models ({', '.join(self.models)})")
        return self


class FreeTrigger(Options):
    """`free`: every frame that the inspection has time for is a part; the others are dropped and counted."""

    kind: Literal["free"]


class CameraTrigger(Options):
    """`camera`: the camera's own trigger input signals parts; every frame is a part."""

    kind: Literal["camera"]


class SoftwareTrigger(Options):
    """`software`: the client of the station's web interface signals parts.

    The request contains `sent_ms`, UNIX time in milliseconds; one older than `max_age_ms` when it is handled
    is a missed part. Client and station must have synchronised clocks.
    """

    kind: Literal["software"]
    max_age_ms: GapMs | None = None

    @model_validator(mode="after")
    def _proves_freshness(self) -> SoftwareTrigger:
        if self.max_age_ms is None:
            raise ValueError(NEEDS_AGE)
        return self

    @property
    def age_ms(self) -> float:
        """`max_age_ms`, which is required."""
        return self.max_age_ms or 0.0


AnyTrigger = Annotated[
    FreeTrigger
    | CameraTrigger
    | SoftwareTrigger
    | TimerTriggerOptions
    | ModbusTriggerOptions
    | S7TriggerOptions
    | EthernetIpTriggerOptions
    | MqttTriggerOptions
    | GpioTriggerOptions,
    Field(discriminator="kind"),
]
AnyOutput = Annotated[
    ModbusOutputOptions
    | S7OutputOptions
    | EthernetIpOutputOptions
    | GpioOutputOptions
    | MqttOutputOptions
    | WebhookOptions
    | OpcUaOptions,
    Field(discriminator="kind"),
]


class TimingSection(Options):
    """Time limits (see `ast_edge.line.station.timing.Timing`).

    `deadline_ms`: from trigger to verdict; a part not decided by then is a fault. `settle_ms`: a picture
    shows the part only if its exposure began this long after the part was in place; required if the camera
    is free-running and parts are triggered externally. `max_frame_age_ms`: or this much earlier, for a camera
    exposed by a sensor before the trigger. `picture_within_ms`: a later picture may show the next part; 100
    by default, plus the camera's `delay_ms`, unless frames are the triggers. `drain_s`: given to open parts
    and outputs when the station stops. `max_waiting`: that many parts may wait for the inspection.
    `refuse_repeated`: a frame equal to the previous one is a fault, since a real camera never produces the
    same noise twice.
    """

    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = 200.0
    max_frame_age_ms: Milliseconds = 0.0
    settle_ms: Milliseconds | None = None
    picture_within_ms: GapMs | None = None
    drain_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    max_waiting: Annotated[int, Field(ge=1, le=10_000)] = 64
    refuse_repeated: bool = True


class CollectConfig(Options):
    """The whole file as `ast-edge collect` reads it: `[recipes]` may be missing."""

    station: StationSection = StationSection()
    camera: CameraSection
    recipes: RecipesSection | None = None
    trigger: AnyTrigger
    timing: TimingSection = TimingSection()
    output: Annotated[tuple[AnyOutput, ...], Field(max_length=32)] = ()
    archive: ArchiveOptions | None = None
    audit: AuditOptions | None = None
    web: WebOptions | None = None
    drift: DriftOptions | None = None
    alarms: AlarmOptions = AlarmOptions()
    log: LogOptions = LogOptions()

    @model_validator(mode="after")
    def _triggers_can_arrive(self) -> Self:
        if self.trigger.kind == "software" and (self.web is None or self.web.token is None):
            raise ValueError("trigger.kind = 'software' needs [web] with a token: triggers arrive there")
        if self.camera.software_trigger and self.trigger.kind in ("free", "camera"):
            raise ValueError(
                f"camera.uri says trigger=software, trigger.kind = {self.trigger.kind!r} requests no frame: "
                "the camera would wait forever"
            )
        return self

    @model_validator(mode="after")
    def _pictures_tell_their_time(self) -> Self:
        scheme = self.camera.parsed.scheme
        if self.camera.triggered or self.trigger.kind in ("free", "camera") or scheme in _RECORDED:
            return self
        if self.timing.settle_ms is None:
            raise ValueError(
                "timing.settle_ms is required: the camera is free-running, and trigger.kind = "
                f"{self.trigger.kind!r} signals parts. Give the milliseconds until the part is completely in "
                "view, 0 if it is at once; `ast-edge run --check` measures the trigger's own delay"
            )
        if scheme in _UNTOLD and self.camera.delay_ms is None:
            raise ValueError(
                f"camera.delay_ms is required: {scheme}:// does not report exposure times. Give the "
                "maximum milliseconds until a frame arrives, with exposure, encoding, network and buffers: "
                "film a running clock beside this machine's own to measure it"
            )
        return self

    @model_validator(mode="after")
    def _camera_counts(self) -> Self:
        scheme = self.camera.parsed.scheme
        if self.trigger.kind == "camera" and scheme not in _COUNTING:
            raise ValueError(
                f"trigger.kind = 'camera' needs a camera that counts its exposures, so that a lost frame "
                f"is known; {scheme}:// does not: use 'free', or an external trigger"
            )
        return self

    @model_validator(mode="after")
    def _gates_come_after_verdicts(self) -> Self:
        for output in self.output:
            gate = getattr(output, "gate", None)
            if not isinstance(gate, GateOptions) or gate.delay_ms is None:
                continue
            if gate.delay_ms <= self.timing.deadline_ms:
                raise ValueError(
                    f"output {output.name}: gate.delay_ms = {gate.delay_ms:g} is not above timing.deadline_ms"
                    f" = {self.timing.deadline_ms:g}: a late part would have passed the gate before its fault"
                )
        return self

    @model_validator(mode="after")
    def _plc_has_one_map(self) -> Self:
        trigger = self.trigger
        if not isinstance(trigger, PolledOptions) or trigger.judged_place is None:
            return self
        wanted = [
            output.judged_place
            for output in self.output
            if isinstance(output, PlcOutputOptions)
            and (output.kind, output.host, output.port) == (trigger.kind, trigger.host, trigger.port)
            and output.reports
        ]
        if trigger.judged_place not in wanted:
            raise ValueError(
                f"trigger.{trigger.judged_key} = {trigger.judged_place} is not where an output of the same "
                f"kind reports what is judged ({', '.join(map(str, wanted)) or 'there is none'}): nothing "
                "would write it"
            )
        return self

    @model_validator(mode="after")
    def _outputs_have_names(self) -> Self:
        names = [output.name for output in self.output]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two outputs are called {name!r}; give them different names with name = ")
        return self

    def station_timing(self) -> Timing:
        """Return the station's timing, with the camera's consequences."""
        given = self.timing.model_dump()
        within_ms = self.timing.picture_within_ms
        if within_ms is None and self._must_show_a_part():
            within_ms = USUAL_GAP_MS + (self.camera.delay_ms or 0.0)
        return Timing(
            **{
                **given,
                "settle_ms": self.timing.settle_ms or 0.0,
                "picture_within_ms": within_ms,
                "delay_ms": self.camera.delay_ms,
            }
        )

    def _must_show_a_part(self) -> bool:
        """Whether another part may be before the camera when its picture comes late.

        Not if the frame itself is the trigger, nor for recorded frames that follow no trigger.
        """
        if self.camera.software_trigger:
            return True
        return self.trigger.kind not in ("free", "camera") and self.camera.parsed.scheme not in _RECORDED

    def watch(self) -> Watch:
        """Return how the camera is watched."""
        camera = self.camera
        policy: Policy = "latest" if self.trigger.kind == "free" else "every"
        return Watch(camera.stall_s, camera.lost_s, policy, camera.kept, camera.triggered)


class LineConfig(CollectConfig):
    """The whole file."""

    recipes: RecipesSection


_Config = TypeVar("_Config", bound=CollectConfig)


def read_config(path: Path) -> LineConfig:
    """Read line.toml; relative paths in it are relative to its folder. Raises LineError."""
    return _read(path, LineConfig)


def read_collect_config(path: Path) -> CollectConfig:
    """Read line.toml, which may be without recipes; else as `read_config`. Raises LineError."""
    return _read(path, CollectConfig)


def _read(path: Path, kind: type[_Config]) -> _Config:
    folder = path.resolve().parent
    config = _anchor(read_toml(path, kind), folder)
    assert isinstance(config, kind)  # noqa: S101 (an Options gives one of its own kind)
    uri = config.camera.parsed
    if uri.scheme not in _FILES or uri.place.startswith("/"):
        return config
    absolute = f"{uri.scheme}://{quote(str(folder / uri.place))}"
    query = config.camera.uri.partition("?")[2]
    camera = config.camera.model_copy(update={"uri": f"{absolute}?{query}" if query else absolute})
    return config.model_copy(update={"camera": camera})


def _anchor(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, Options):
        fields = {name: _anchor(getattr(value, name), folder) for name in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, tuple):
        return tuple(_anchor(item, folder) for item in value)
    if isinstance(value, dict):
        return {key: _anchor(item, folder) for key, item in value.items()}
    return value
