"""A read-only OPC UA server that shows one station, on asyncua."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ast_edge.line.links.opcua_access import Access, ReadOnly, Users, bound, missing, types
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationStatus

if TYPE_CHECKING:
    from asyncua.common.node import Node
    from asyncua.server.server import Server

# The variables by name: type, and field of `StationStatus.as_dict` or `PartResult.as_dict`.
_STATION = {
    "State": ("String", "state"),
    "Ready": ("Boolean", "ready"),
    "NotReady": ("String", "not_ready"),
    "Recipe": ("String", "recipe"),
    "Threshold": ("Double", "threshold"),
    "Camera": ("String", "camera"),
    "Triggers": ("UInt64", "triggers"),
    "Passed": ("UInt64", "passed"),
    "Rejected": ("UInt64", "rejected"),
    "Faults": ("UInt64", "faults"),
    "Open": ("UInt64", "open"),
    "Failures": ("UInt64", "failures"),
    "Gaps": ("UInt64", "gaps"),
    "Alarms": ("String", "alarms"),
    "OutputsFailing": ("String", "outputs_failing"),
    "Warnings": ("String", "warnings"),
    "Time": ("DateTime", "time"),
}
_RESULT = {
    "PartId": ("String", "part_id"),
    "Number": ("UInt64", "number"),
    "Verdict": ("String", "verdict"),
    "Reason": ("String", "reason"),
    "Score": ("Double", "score"),
    "Threshold": ("Double", "threshold"),
    "Recipe": ("String", "recipe"),
    "Time": ("DateTime", "time"),
    "LatencyMs": ("Double", "latency_ms"),
    "Json": ("String", "json"),
}
_LISTS = {"NotReady", "Alarms", "OutputsFailing", "Warnings"}
_EMPTY: dict[str, object] = {"String": "", "Boolean": False, "Double": math.nan, "UInt64": 0}


class StationServer:
    """One object per station with its state, counters and last result; call from the loop's thread.

    The variables of a result are written together, with one source timestamp; clients that need a consistent
    set of one part's values read `Json`, which contains all of them.
    """

    def __init__(self, station: str, namespace: str, access: Access) -> None:
        self._station, self._namespace, self._access = station, namespace, access
        self._server: Server | None = None
        self._nodes: dict[str, Node] = {}
        self._shown: dict[str, object] = {}

    async def start(self, url: str) -> None:
        """Build the address space, which takes a second or more, and listen."""
        try:
            from asyncua.server.server import Server  # noqa: PLC0415 (optional, and slow to import)
        except ImportError as exc:
            raise missing() from exc
        _quiet()
        server = Server(user_manager=Users(self._access))  # type: ignore[arg-type]
        await server.init()
        server.set_endpoint(url)
        server.set_server_name("ast-edge")
        identity = self._access.identity
        own = f"urn:ast-edge:{self._station}"
        await server.set_application_uri(identity.uri or own if identity is not None else own)
        await self._secure(server)
        bound(server)
        await self._build(server)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Disconnect all clients; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def show_result(self, result: PartResult) -> None:
        """Show the part as the last result."""
        taken = datetime.fromtimestamp(result.record.time_s, timezone.utc)
        facts = {**vars(result.record), "part_id": result.part_id, "time": taken, "json": result.as_json()}
        await self._write("LastResult.", _RESULT, facts, datetime.now(timezone.utc))

    async def show_station(self, station: StationStatus) -> None:
        """Update state, counters and warnings that changed; `Time` always."""
        at = datetime.now(timezone.utc)
        facts = {**station.as_dict(), "time": at}
        changed = {name: how for name, how in _STATION.items() if self._shown.get(name) != facts[how[1]]}
        await self._write("", changed, facts, at)
        self._shown.update({name: facts[key] for name, (_, key) in changed.items()})

    # ---- inside --------------------------------------------------------------------------------------------

    async def _secure(self, server: Server) -> None:
        ua = types()
        policy = ua.SecurityPolicyType.NoSecurity
        if self._access.identity is not None:
            policy = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
            await server.load_certificate(self._access.identity.certificate, "der")
            await server.load_private_key(self._access.identity.key, None, "der")
        server.set_security_policy([policy], ReadOnly())  # type: ignore[arg-type]
        named = bool(self._access.username)
        server.set_identity_tokens([ua.UserNameIdentityToken if named else ua.AnonymousIdentityToken])

    async def _build(self, server: Server) -> None:
        ua, index = types(), await server.register_namespace(self._namespace)

        async def add(parent: Node, path: str, name: str) -> Node:
            return await parent.add_object(ua.NodeId(f"{self._station}{path}", index), f"{index}:{name}")

        station = await add(server.nodes.objects, "", self._station)
        result = await add(station, ".LastResult", "LastResult")
        for parent, prefix, kinds in ((station, "", _STATION), (result, "LastResult.", _RESULT)):
            for name, (kind, _) in kinds.items():
                node_id = ua.NodeId(f"{self._station}.{prefix}{name}", index)
                first = [] if name in _LISTS else _EMPTY.get(kind, datetime.now(timezone.utc))
                variant = _variant(kind, first)
                self._nodes[prefix + name] = await parent.add_variable(node_id, f"{index}:{name}", variant)

    async def _write(
        self, prefix: str, shown: Mapping[str, tuple[str, str]], facts: Mapping[str, object], at: datetime
    ) -> None:
        ua = types()
        for name, (kind, key) in shown.items():
            value = ua.DataValue(_variant(kind, facts[key]), SourceTimestamp=at, ServerTimestamp=at)
            await self._nodes[prefix + name].write_value(value)


def _variant(kind: str, value: object) -> Any:
    ua = types()
    if kind == "Double":
        value = math.nan if value is None else float(value)  # type: ignore[arg-type]
    return ua.Variant(value, ua.VariantType[kind], is_array=isinstance(value, list))


def _quiet() -> None:
    """Silence asyncua, which logs, with a trace, whatever is sent to the port, unless its level was set."""
    logger = logging.getLogger("asyncua")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL + 1)
