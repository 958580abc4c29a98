"""Limits on connections to the page, so that no client can lock out the others."""

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
    """A connection that can be closed at any moment."""

    def cut(self) -> None:
        """Close the connection now, whatever is in progress."""


def site_of(address: str) -> str:
    """Return the address to count: an IPv4 address, or the /64 network of an IPv6 one.

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
    """Places for connections: 32 in common, at most 16 per address, and two reserves of 8.

    One reserve is for this machine (127.0.0.1 and ::1). The other is for connections that presented the
    token, which then free their common places. When the common places are full, the address with the most of
    them loses its oldest connection, if it then still holds more than the newcomer. So a newcomer is refused
    only if at least 32 addresses hold one place each. Used only by the server's loop; counters may be read
    from any thread.
    """

    def __init__(self) -> None:
        self._common: dict[Visitor, str] = {}  # oldest first
        self._own: set[Visitor] = set()
        self._trusted: set[Visitor] = set()
        self._of: Counter[str] = Counter()
        self.turned_away = self.displaced = 0

    @property
    def taken(self) -> int:
        """Number of open connections."""
        return len(self._common) + len(self._own) + len(self._trusted)

    def enter(self, visitor: Visitor, address: str) -> bool:
        """Give a new connection a place; return False if there is none."""
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
        """Give a connection that presented the token a reserved place, if one is free."""
        if visitor in self._common and len(self._trusted) < KEPT_FOR_TOKENS:
            self._release(visitor)
            self._trusted.add(visitor)

    def leave(self, visitor: Visitor) -> None:
        """Release the place of a closed connection; a second call does nothing."""
        self._own.discard(visitor)
        self._trusted.discard(visitor)
        if visitor in self._common:
            self._release(visitor)

    def clear(self) -> None:
        """Close every connection."""
        for visitor in (*self._common, *self._own, *self._trusted):
            visitor.cut()

    def _has_room(self, newcomer: str) -> bool:
        """Whether a common place is free, after taking one from the heaviest user if necessary."""
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
        self._of -= Counter((self._common.pop(visitor),))  # also drops a site without connections
