"""Builds a station with all its components from line.toml."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone

from ast_edge.cameras.base import State
from ast_edge.cameras.opening import open_camera
from ast_edge.cameras.supervised import Supervised
from ast_edge.line.events import Report
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.outputs.base import Output
from ast_edge.line.outputs.ethernet_ip import EthernetIpOutput, EthernetIpOutputOptions
from ast_edge.line.outputs.gated import GatedOutput
from ast_edge.line.outputs.gpio import GpioOutput, GpioOutputOptions
from ast_edge.line.outputs.modbus import ModbusOutput, ModbusOutputOptions
from ast_edge.line.outputs.mqtt import MqttOutput, MqttOutputOptions
from ast_edge.line.outputs.opcua import OpcUaOutput
from ast_edge.line.outputs.s7 import S7Output, S7OutputOptions
from ast_edge.line.outputs.webhook import WebhookOptions, WebhookOutput
from ast_edge.line.service.config import AnyOutput, AnyTrigger, CollectConfig, LineConfig
from ast_edge.line.station.recipes import Recipes, open_recipe
from ast_edge.line.station.setup import Triggering
from ast_edge.line.triggers.base import TriggerSource
from ast_edge.line.triggers.ethernet_ip import EthernetIpTrigger, EthernetIpTriggerOptions
from ast_edge.line.triggers.gpio import GpioTrigger, GpioTriggerOptions
from ast_edge.line.triggers.modbus import ModbusTrigger, ModbusTriggerOptions
from ast_edge.line.triggers.mqtt import MqttTrigger, MqttTriggerOptions
from ast_edge.line.triggers.s7 import S7Trigger, S7TriggerOptions
from ast_edge.line.triggers.timer import TimerTrigger, TimerTriggerOptions


def new_run() -> str:
    """Return a unique name for this run of the station, independent of the clock."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def open_recipes(config: LineConfig, report: Report) -> Recipes:
    """Open and prove the first recipe; errors as in `open_recipe`."""
    section = config.recipes
    threads, backend = section.threads, section.engine
    first = open_recipe(section.first, section.models[section.first], threads=threads, backend=backend)
    return Recipes(section.models, first, report, threads=threads, backend=backend)


def watched_camera(config: CollectConfig, report: Report) -> Supervised:
    """Return the camera behind its supervisor, which waits for one that is not available yet."""
    camera, public = config.camera.uri, config.camera.parsed.public

    def changed(state: State, why: str) -> None:
        report("camera", {"camera": public, "state": state, **({"error": why} if why else {})})

    return Supervised(public, lambda: open_camera(camera), config.watch(), changed)


def triggering(options: AnyTrigger) -> Triggering:
    """Return the kind of triggering."""
    if options.kind in ("free", "camera"):
        return options.kind
    return "external"


def trigger_source(options: AnyTrigger) -> TriggerSource | None:
    """Return the source of triggers; None if frames or the web interface are the triggers."""
    if isinstance(options, TimerTriggerOptions):
        return TimerTrigger(options)
    if isinstance(options, ModbusTriggerOptions):
        return ModbusTrigger(options)
    if isinstance(options, S7TriggerOptions):
        return S7Trigger(options)
    if isinstance(options, EthernetIpTriggerOptions):
        return EthernetIpTrigger(options)
    if isinstance(options, MqttTriggerOptions):
        return MqttTrigger(options)
    return GpioTrigger(options) if isinstance(options, GpioTriggerOptions) else None


def encoder_of(source: TriggerSource | None) -> EncoderSource | None:
    """Return the trigger's encoder, if it has one."""
    return source if isinstance(source, EncoderSource) else None


def output(options: AnyOutput, encoder: EncoderSource | None) -> Output:
    """Create one output; nothing is opened yet."""
    if isinstance(options, ModbusOutputOptions):
        return ModbusOutput(options, encoder)
    if isinstance(options, S7OutputOptions):
        return S7Output(options, encoder)
    if isinstance(options, EthernetIpOutputOptions):
        return EthernetIpOutput(options, encoder)
    if isinstance(options, GpioOutputOptions):
        return GpioOutput(options, encoder)
    if isinstance(options, MqttOutputOptions):
        return MqttOutput(options)
    return WebhookOutput(options) if isinstance(options, WebhookOptions) else OpcUaOutput(options)


def outputs(config: LineConfig, encoder: EncoderSource | None) -> list[Output]:
    """Create all outputs; actuators come first, so that they receive a part first."""
    made = [output(options, encoder) for options in config.output]
    return sorted(made, key=lambda each: not isinstance(each, GatedOutput))
