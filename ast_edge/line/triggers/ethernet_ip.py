"""Triggers from a Logix controller (Rockwell) over EtherNet/IP: a polled counter or sensor; and its encoder.

What holds for every PLC that is polled is in `ast_edge.line.triggers.polled`. One request reads all of it.
`judged_tag` is the element of that name in the output's array: number 7.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from ast_edge.line.config.options import Name
from ast_edge.line.links.ethernet_ip import EthernetIpLink, EthernetIpOptions, Kind, Tag, TagName
from ast_edge.line.triggers.polled import Poll, PolledOptions, PolledTrigger

Bits = Literal[16, 32]
_KINDS: dict[int, Kind] = {16: "INT", 32: "DINT"}


class EthernetIpTriggerOptions(EthernetIpOptions, PolledOptions):
    """A Logix controller that counts parts, or has a BOOL for them: `counter_tag` or `sensor_tag`.

    `counter_bits` and `encoder_bits`: 32 for a DINT, 16 for an INT. `encoder_tag`: the conveyor's count, read
    with the part. `judged_tag` requires a counter: the station's own output reports there what is judged.
    """

    kind: Literal["ethernet-ip"]
    name: Name = "ethernet-ip"
    counter_tag: TagName | None = None
    counter_bits: Bits = 32
    sensor_tag: TagName | None = None
    encoder_tag: TagName | None = None
    encoder_bits: Bits = 32
    judged_tag: TagName | None = None

    counter_key: ClassVar[str] = "counter_tag"
    bit_keys: ClassVar[tuple[str, ...]] = ("sensor_tag",)
    judged_key: ClassVar[str] = "judged_tag"

    @property
    def counter_size(self) -> int:
        """The bits of the counter."""
        return self.counter_bits


class EthernetIpTrigger(PolledTrigger):
    """Polls the controller on its own thread; also the encoder for a reject gate (`position`)."""

    def __init__(self, options: EthernetIpTriggerOptions) -> None:
        self._options = options
        self._link = EthernetIpLink(options)
        super().__init__(options, self._link)
        asked: dict[str, tuple[str | None, Kind]] = {
            "sensor": (options.sensor_tag, "BOOL"),
            "counter": (options.counter_tag, _KINDS[options.counter_bits]),
            "encoder": (options.encoder_tag, _KINDS[options.encoder_bits]),
        }
        self._tags = {name: Tag(tag, kind) for name, (tag, kind) in asked.items() if tag is not None}

    @override
    def _poll(self, sent_ns: int) -> Poll:
        data = self._link.read(list(self._tags.values()))
        found = {name: int.from_bytes(each, "little") for name, each in zip(self._tags, data, strict=True)}
        bit = bool(found["sensor"]) if "sensor" in found else None
        return Poll(bit, found.get("counter"), found.get("encoder"), sent_ns)

    @override
    def _read_judged(self) -> int:
        (data,) = self._link.read([Tag(self._options.judged_tag or "", "DINT")])
        return int.from_bytes(data, "little")
