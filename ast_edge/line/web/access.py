"""Access to the page: host names accepted from browsers, and the token for changes."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterable
from ipaddress import ip_address

from ast_edge.line.events import Report

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Access:
    """The token, None if nothing can be changed, and the known host names."""

    def __init__(self, token: bytes | None, hosts: Iterable[str], tell: Report) -> None:
        self._token = token
        self._hosts = {*LOOPBACK, *(host.lower() for host in hosts)}
        self.wrong = WrongTokens(tell)

    @property
    def has_token(self) -> bool:
        """Whether anything can be changed."""
        return self._token is not None

    def knows_host(self, named: list[str]) -> bool:
        """Whether the request has exactly one Host header, with an IP address or a known name."""
        host = named[0].lower() if len(named) == 1 else ""
        name = host[: host.rfind("]") + 1].strip("[]") if host.startswith("[") else host.partition(":")[0]
        return name in self._hosts or _is_address(name)

    def allows(self, authorization: str) -> bool:
        """Whether the Authorization header contains the token; in constant time."""
        scheme, _, given = authorization.partition(" ")
        given_bytes = given.strip().encode("utf-8", "replace")
        return (
            self._token is not None and scheme == "Bearer" and hmac.compare_digest(given_bytes, self._token)
        )


def _is_address(name: str) -> bool:
    """Whether it is an IP address: a foreign web page cannot have one of ours as its own name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class WrongTokens:
    """Counts wrong tokens, and reports the 1st, 2nd, 4th, 8th and so on, so as not to fill the audit log."""

    def __init__(self, tell: Report) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self.count = 0

    def note(self, address: str) -> None:
        """Count a client at `address` that presented a wrong token, or none."""
        with self._lock:
            self.count += 1
            count = self.count
        if count & (count - 1) == 0:
            self._tell("operator", {"refused": "wrong token", "address": address, "times": count})
