"""Takes triggers as the station does, and records them."""

from __future__ import annotations

from collections.abc import Sequence

from ast_edge.line.part import Trigger
from tests.waiting import wait_for


class Sink:
    """Remembers what it is given, in order; every trigger must name `source`."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.given: list[tuple[str, str | None]] = []
        self.triggers: list[Trigger] = []
        self.gaps: list[str] = []
        self.reasons: list[str] = []  # of those that were missed

    def trigger(
        self,
        at_ns: int | None = None,
        *,
        until_ns: int | None = None,
        encoder: int | None = None,
        source: str = "software",
        external_id: str | None = None,
    ) -> Trigger:
        self.given.append(("trigger", external_id))
        self.triggers.append(
            Trigger(
                number=len(self.given),
                at_ns=at_ns or 0,
                wall_s=0.0,
                encoder=encoder,
                source=source,
                external_id=external_id,
                until_ns=until_ns,
            )
        )
        return self.triggers[-1]

    def missed(self, count: int, source: str, external_ids: Sequence[str] = (), why: str = "") -> None:
        assert source == self.source
        assert len(external_ids) in {0, count}
        self.reasons += [why] * count
        self.given += [("missed", name) for name in external_ids or [None] * count]  # type: ignore[list-item]

    def uncounted(self, source: str, why: str) -> None:
        assert source == self.source
        self.gaps.append(why)

    def ids(self) -> list[int]:
        return [int(name) for _, name in self.given if name is not None]

    def count(self, kind: str) -> int:
        return sum(found == kind for found, _ in self.given)


def counted(sink: Sink, count: int) -> None:
    """Wait for so many parts."""
    wait_for(lambda: len(sink.given) == count)
