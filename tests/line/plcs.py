"""The PLCs of the tests, a kind for each protocol, and how output and trigger find their way in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ast_edge.line.outputs.ethernet_ip import EthernetIpOutput, EthernetIpOutputOptions
from ast_edge.line.outputs.modbus import ModbusOutput, ModbusOutputOptions
from ast_edge.line.outputs.plc import PlcOutput
from ast_edge.line.outputs.s7 import S7Output, S7OutputOptions
from ast_edge.line.triggers.ethernet_ip import EthernetIpTrigger, EthernetIpTriggerOptions
from ast_edge.line.triggers.modbus import ModbusTrigger, ModbusTriggerOptions
from ast_edge.line.triggers.polled import PolledTrigger
from ast_edge.line.triggers.s7 import S7Trigger, S7TriggerOptions
from benchmarks.line.plc import BLOCK, COUNTER, COUNTER16, ENCODER, ENCODER16, REJECT_COIL, SENSOR_COIL, Plc
from tests.waiting import free_port

Options = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Options for places in the PLC of `benchmarks.line.conveyor`, and the ways to spoil its answers."""

    name: str
    server: str
    output: Callable[[dict[str, object], Any], PlcOutput]
    trigger: Callable[[dict[str, object]], PolledTrigger]
    block: Options
    bit: Options
    counter: Options
    counter16: Options
    encoder: Options
    encoder16: Options
    sensor: Options
    judged: Options
    rubbish: tuple[str, ...]
    many: int = 3000  # results that its server takes in some seconds
    per_s: float = 80.0  # parts that it keeps up with

    def plc(self, folder: Path, port: int | None = None) -> KnownPlc:
        """A PLC of this kind that does not run yet."""
        return KnownPlc(self, folder, port)


class KnownPlc(Plc):
    """A PLC that knows its kind."""

    def __init__(self, kind: Kind, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port or free_port(), server=kind.server)
        self.kind = kind

    def output(self, encoder: Any = None, **options: object) -> PlcOutput:
        """An output to it; `options` as in line.toml, where None leaves one out."""
        return self.kind.output(self._whole(options), encoder)

    def trigger_source(self, **options: object) -> PolledTrigger:
        """A trigger from it."""
        return self.kind.trigger(self._whole(options))

    def _whole(self, options: Options) -> dict[str, object]:
        given = {"kind": self.kind.name, "host": "127.0.0.1", "port": self.port, **options}
        return {name: value for name, value in given.items() if value is not None}


_SPOILT = ("busy", "silent", "wrong_id", "short", "long", "rubbish", "flood")

MODBUS = Kind(
    name="modbus",
    server="line.plc_server",
    output=lambda options, encoder: ModbusOutput(ModbusOutputOptions.model_validate(options), encoder),
    trigger=lambda options: ModbusTrigger(ModbusTriggerOptions.model_validate(options)),
    block={"registers": BLOCK},
    bit={"coil": REJECT_COIL},
    counter={"counter_register": COUNTER},
    counter16={"counter_register": COUNTER16, "counter_bits": 16},
    encoder={"encoder_register": ENCODER},
    encoder16={"encoder_register": ENCODER16, "encoder_bits": 16},
    sensor={"coil": SENSOR_COIL},
    judged={"judged_register": BLOCK + 12},
    rubbish=(*_SPOILT, "wrong_device"),
)
S7 = Kind(
    name="s7",
    server="line.s7_server",
    output=lambda options, encoder: S7Output(S7OutputOptions.model_validate(options), encoder),
    trigger=lambda options: S7Trigger(S7TriggerOptions.model_validate(options)),
    block={"db": 1, "start": 2 * BLOCK},
    bit={"reject_bit": f"M{REJECT_COIL}.0"},
    counter={"counter": f"DB1.DBD{2 * COUNTER}"},
    counter16={"counter": f"DB1.DBW{2 * COUNTER16}"},
    encoder={"encoder": f"DB1.DBD{2 * ENCODER}"},
    encoder16={"encoder": f"DB1.DBW{2 * ENCODER16}"},
    sensor={"sensor": "I0.0"},
    judged={"judged": f"DB1.DBD{2 * (BLOCK + 12)}"},
    rubbish=(*_SPOILT, "denied", "protected", "optimised", "refused"),
)
ETHERNET_IP = Kind(
    name="ethernet-ip",
    server="line.ethernet_ip_server",
    output=lambda options, encoder: EthernetIpOutput(
        EthernetIpOutputOptions.model_validate(options), encoder
    ),
    trigger=lambda options: EthernetIpTrigger(EthernetIpTriggerOptions.model_validate(options)),
    block={"tag": "AstEdge"},
    bit={"reject_tag": "Reject"},
    counter={"counter_tag": "Count"},
    counter16={"counter_tag": "Count16", "counter_bits": 16},
    encoder={"encoder_tag": "Encoder"},
    encoder16={"encoder_tag": "Encoder16", "encoder_bits": 16},
    sensor={"sensor_tag": "Sensor"},
    judged={"judged_tag": "AstEdge[7]"},
    rubbish=(*_SPOILT, "denied", "missing", "wrong_sequence", "wrong_service"),
    many=300,
    per_s=8.0,
)
KINDS = {kind.name: kind for kind in (MODBUS, S7, ETHERNET_IP)}


def parameters(values: Callable[[Kind], Iterable[object]] | None = None) -> list[Any]:
    """A parameter set for each kind, or for each value of each kind. All but Modbus are slow tests."""
    found = []
    for name, kind in KINDS.items():
        marks = () if kind is MODBUS else pytest.mark.slow
        sets = [(name,)] if values is None else [(name, value) for value in values(kind)]
        found += [pytest.param(*each, marks=marks) for each in sets]
    return found
