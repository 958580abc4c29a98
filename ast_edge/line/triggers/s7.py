"""Triggers from a Siemens S7 PLC: a polled part counter or sensor bit; and its encoder.

What holds for every PLC that is polled is in `ast_edge.line.triggers.polled`. One request reads all of it.
`judged` is the double word of that name in the output's block: 24 bytes after its `start`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from ast_edge.line.config.options import Name
from ast_edge.line.links.s7 import S7Link, S7Options
from ast_edge.line.links.s7_address import BitAddress, NumberAddress, parse
from ast_edge.line.triggers.polled import Poll, PolledOptions, PolledTrigger


class S7TriggerOptions(S7Options, PolledOptions):
    """A Siemens S7 PLC that counts parts, or has a bit for them: `counter` or `sensor`.

    `counter`: a word or double word, such as "DB100.DBD48". `sensor`: a bit, such as "I0.3". `encoder`: word
    or double word with the conveyor's count, read with the part. `judged` requires a counter: the station's
    own output reports there what is judged.
    """

    kind: Literal["s7"]
    name: Name = "s7"
    counter: NumberAddress | None = None
    sensor: BitAddress | None = None
    encoder: NumberAddress | None = None
    judged: NumberAddress | None = None

    counter_key: ClassVar[str] = "counter"
    bit_keys: ClassVar[tuple[str, ...]] = ("sensor",)
    judged_key: ClassVar[str] = "judged"

    @property
    def counter_size(self) -> int:
        """The bits of the counter."""
        return 32 if self.counter is None else parse(self.counter).bits

    @property
    def judged_place(self) -> str | None:
        """Where the station's output writes `judged`; None if the trigger does not read it."""
        return None if self.judged is None else str(parse(self.judged))


class S7Trigger(PolledTrigger):
    """Polls the PLC on its own thread; also the encoder for a reject gate (`position`)."""

    def __init__(self, options: S7TriggerOptions) -> None:
        self._options = options
        self._link = S7Link(options)
        super().__init__(options, self._link)
        asked = {"sensor": options.sensor, "counter": options.counter, "encoder": options.encoder}
        self._places = {name: parse(address) for name, address in asked.items() if address is not None}

    @override
    def _poll(self, sent_ns: int) -> Poll:
        data = self._link.read(list(self._places.values()))
        found = {name: int.from_bytes(each, "big") for name, each in zip(self._places, data, strict=True)}
        place = self._places.get("sensor")
        bit = None if place is None else bool(found["sensor"] >> (place.bit or 0) & 1)
        return Poll(bit, found.get("counter"), found.get("encoder"), sent_ns)

    @override
    def _read_judged(self) -> int:
        (data,) = self._link.read([parse(self._options.judged or "")])
        return int.from_bytes(data, "big")
