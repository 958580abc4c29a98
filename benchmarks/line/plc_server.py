"""The PLC as a separate process that speaks Modbus TCP: a pymodbus server around a conveyor.

    python -m benchmarks.line.plc_server --port 5020 --journal plc.jsonl

See `benchmarks/line/conveyor.py` for its commands and its journal.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from benchmarks.line import conveyor
from benchmarks.line.conveyor import COUNTER, ENCODER16, HOLDING, INPUTS, SENSOR_COIL, SENSOR_INPUT

_READS = {1, 2, 3, 4}  # a write is read back by its own function
_BITS = {1, 2, 5, 15}
# How outgoing answers are spoiled.
_SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "silent": lambda _: b"",
    "wrong_id": lambda data: bytes([data[0] ^ 0xFF]) + data[1:],
    "wrong_device": lambda data: data[:6] + bytes([data[6] ^ 0x55]) + data[7:],
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"\0",
    "rubbish": lambda _: os.urandom(40),
    "flood": lambda _: os.urandom(1 << 20),
}


class Plc(conveyor.Plc):
    """The server."""

    async def serve(self) -> None:
        """Until cancelled."""
        device = SimDevice(
            0,
            (
                [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
                [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
                [SimData(0, values=[0] * HOLDING, datatype=DataType.REGISTERS)],
                [SimData(0, values=[0] * INPUTS, datatype=DataType.REGISTERS)],
            ),
            action=self._act,
        )
        server = ModbusTcpServer(device, address=("127.0.0.1", self.port), trace_packet=self._spoil)
        await server.serve_forever()

    async def _act(
        self,
        function: int,
        _start: int,
        address: int,
        _count: int,
        block: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        self.asked += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.mode == "busy":
            return ExcCodes.DEVICE_BUSY
        if values is not None:
            self._write(function, address, values)
        elif function in _READS:
            self._fill(function, block)
        return None

    def _spoil(self, sending: bool, data: bytes) -> bytes:  # noqa: FBT001 (the library's signature)
        spoiler = _SPOILERS.get(self.mode)
        return data if spoiler is None or not sending else spoiler(data)

    def _fill(self, function: int, block: list[int]) -> None:
        """Fill the values that a read returns."""
        if function in _BITS:
            bit = SENSOR_COIL if function == 1 else SENSOR_INPUT
            block[0] = block[0] & ~(1 << bit) | self.conveyor.sensor << bit
            return
        live = self.conveyor.live()
        block[COUNTER : ENCODER16 + 1] = [live.get(at, 0) for at in range(COUNTER, ENCODER16 + 1)]
        if function == 3:
            block[ENCODER16 + 1 :] = self.conveyor.registers[ENCODER16 + 1 :]

    def _write(self, function: int, address: int, values: list[int] | list[bool]) -> None:
        """Apply a write."""
        if function in _BITS:
            for at, value in enumerate(values, address):
                self.conveyor.switch(at, on=bool(value))
        else:
            self.conveyor.store(address, [int(value) for value in values])


if __name__ == "__main__":
    asyncio.run(conveyor.run(Plc, __doc__))
