"""Who may hold a connection to the page, so that no visitor can keep the others out."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

MOST_CONNECTIONS = 32
MOST_OF_ONE = 16  # of them from one address
KEPT_FOR_THIS_MACHINE = 8
KEPT_FOR_TOKENS = 8
_IPV6_SITE = 64


class Visitor(Protocol):
    """A connection that can be ended at any moment."""

    def cut(self) -> None:
        """End the connection now, whatever is on its way."""


def site_of(address: str) -> str:
    """The address that is counted: an IPv4 address, or the /64 network of an IPv6 one.

    A machine with IPv6 has 2**64 addresses of its own, which count as one.
    """
    try:
        found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found) if found.is_loopback else str(ip_network((found, _IPV6_SITE), strict=False))


class Places:
    """The places for connections: 32 for everyone, at most 16 per address, and two reserves of 8.

    One reserve is for this machine (127.0.0.1 and ::1). The other is for connections that presented the
    token: they leave the common places. When the common places are full, the address that holds most of them
    loses its oldest, provided that it still holds more than the newcomer then has. So a newcomer is turned
    away only where at least 32 addresses hold one place each. Used by the server's loop alone; the counters
    may be read from any thread.
    """

    def __init__(self) -> None:
        self._common: dict[Visitor, str] = {}  # oldest first
        self._own: set[Visitor] = set()
        self._trusted: set[Visitor] = set()
        self._of: Counter[str] = Counter()
        self.turned_away = self.displaced = 0

    @property
    def taken(self) -> int:
        """Connections that are open now."""
        return len(self._common) + len(self._own) + len(self._trusted)

    def enter(self, visitor: Visitor, address: str) -> bool:
        """Give a new connection a place; False where there is none."""
        site = site_of(address)
        if site in ("127.0.0.1", "::1") and len(self._own) < KEPT_FOR_THIS_MACHINE:
            self._own.add(visitor)
            return True
        if self._of[site] >= MOST_OF_ONE or not self._has_room(site):
            self.turned_away += 1
            return False
        self._common[visitor] = site
        self._of[site] += 1
        return True

    def trust(self, visitor: Visitor) -> None:
        """The connection presented the token: it gets a reserved place where one is free."""
        if visitor in self._common and len(self._trusted) < KEPT_FOR_TOKENS:
            self._release(visitor)
            self._trusted.add(visitor)

    def leave(self, visitor: Visitor) -> None:
        """The connection has ended; a second call does nothing."""
        self._own.discard(visitor)
        self._trusted.discard(visitor)
        if visitor in self._common:
            self._release(visitor)

    def clear(self) -> None:
        """End every connection."""
        for visitor in (*self._common, *self._own, *self._trusted):
            visitor.cut()

    def _has_room(self, newcomer: str) -> bool:
        """Whether there is room among the common places, if need be after one was taken from the heaviest."""
        if len(self._common) < MOST_CONNECTIONS:
            return True
        heaviest, held = self._of.most_common(1)[0]
        if held <= self._of[newcomer] + 1:
            return False
        oldest = next(visitor for visitor, site in self._common.items() if site == heaviest)
        self._release(oldest)
        self.displaced += 1
        oldest.cut()
        return True

    def _release(self, visitor: Visitor) -> None:
        self._of -= Counter((self._common.pop(visitor),))  # also drops a site that has none left
