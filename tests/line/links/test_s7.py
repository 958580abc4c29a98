"""The S7 client: addresses, its deadline for a whole answer, and errors that say what to set in the PLC."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.links.s7 import S7Link, S7Options
from ast_edge.line.links.s7_address import Place, parse
from ast_edge.line.outputs.s7 import S7OutputOptions
from ast_edge.line.triggers.s7 import S7TriggerOptions
from tests.line.plcs import S7, KnownPlc
from tests.waiting import free_port

REGISTER = parse("DB1.DBD240")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnownPlc]:
    with S7.plc(tmp_path_factory.mktemp("plc")) as running:
        yield running


@pytest.fixture
def plc(server: KnownPlc) -> KnownPlc:
    server.spoil("ok")
    return server


@contextmanager
def linked(port: int, timeout_ms: float = 1000) -> Iterator[S7Link]:
    link = S7Link(S7Options(host="127.0.0.1", port=port, timeout_ms=timeout_ms))
    link.open()
    try:
        yield link
    finally:
        link.close()


def error(link: S7Link, address: str) -> str:
    """What is said about a read that fails; the connection is closed then."""
    with pytest.raises(LineError) as caught:
        link.read([parse(address)])
    assert not link.is_open
    return str(caught.value)


def test_addresses() -> None:
    assert parse("DB100.DBX46.3") == Place("DB", 100, 46, 1, 3)
    assert parse("DB1.DBD4") == Place("DB", 1, 4, 4)
    assert parse("MW20") == Place("M", 0, 20, 2)
    assert parse("E0.3") == parse("I0.3") == Place("I", 0, 0, 1, 3)
    assert parse("A4.1") == parse("Q4.1") == Place("Q", 0, 4, 1, 1)


@given(st.sampled_from("IQM"), st.sampled_from([1, 2, 4]), st.integers(0, 65_535), st.integers(0, 7))
def test_a_place_is_written_as_it_is_read(area: str, size: int, byte: int, bit: int) -> None:
    for place in (
        Place(area, 0, byte, size, bit if size == 1 else None),  # type: ignore[arg-type]
        Place("DB", byte or 1, byte, size, bit if size == 1 else None),
    ):
        assert parse(str(place)) == place


@given(st.text())
def test_other_texts_are_no_addresses(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["DB0.DBD4", "DB1.DBD70000", "DB1.DBX4", "DB1.DBW4.1", "I0", "MW0.1", "I0.8", "DB1.DBB4", "db1.dbd4"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"DB1|I0|MW0|db1|DB0"):
        parse(text)


def test_several_places_are_one_request(plc: KnownPlc) -> None:
    plc.set(120, [1, 2, 3])
    with linked(plc.port) as link:
        before = plc.ask("halt")["asked"]
        assert link.read([REGISTER, parse("I0.0"), parse("DB1.DBW244")]) == [
            b"\x00\x01\x00\x02",
            b"\x00",
            b"\x00\x03",
        ]
        assert plc.ask("halt")["asked"] == before + 1


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("DB7.DBW0", "DB7.DBW0 cannot be accessed: it does not exist; load the data block; if its access is"),
        ("DB2.DBD8", "DB2.DBD8 cannot be accessed: it ends before that address; make the data block longer"),
        ("Q0.0", "Q0.0 cannot be accessed: it does not exist."),
    ],
)
def test_what_is_not_there(plc: KnownPlc, address: str, said: str) -> None:
    with linked(plc.port) as link:
        text = error(link, address)
    assert said in text
    assert ("Optimized block access" in text) == address.startswith("DB")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (
            "denied",
            "refused with error 0x8104: in TIA Portal allow 'Permit access with PUT/GET communication",
        ),
        ("protected", "protection level forbids access to DB1.DBD240: in TIA Portal allow"),
        ("optimised", "clear 'Optimized block access' in its properties"),
        ("refused", "the data block must not be write-protected, only in load memory, or optimised"),
        ("busy", "0x8302: no resources: close other connections to the CPU"),
        ("silent", "it did not answer in time"),
        ("long", "invalid answer (it answered more than was requested)"),
        ("wrong_id", "invalid answer ("),
    ],
)
def test_a_refusal_says_what_to_set(plc: KnownPlc, mode: str, said: str) -> None:
    with linked(plc.port) as link:
        plc.spoil(mode)
        assert said in error(link, str(REGISTER))
    with linked_after(plc) as link:
        plc.spoil(mode)
        with pytest.raises(LineError):
            link.write_bit(parse("M0.0"), on=False)
        assert not link.is_open


def test_an_answer_of_random_bytes_is_no_data(plc: KnownPlc) -> None:
    """The frame is right, what is in it is not; the library must not be left in pieces."""
    refused = 0
    for _ in range(60):
        with linked_after(plc) as link:
            plc.spoil("scrambled")
            try:
                assert len(link.read([REGISTER, parse("DB1.DBW244")])[0]) == 4
            except LineError:
                refused += 1
                assert not link.is_open
    assert refused > 50


@contextmanager
def linked_after(plc: KnownPlc) -> Iterator[S7Link]:
    """Connect while the PLC still answers well."""
    plc.spoil("ok")
    with linked(plc.port) as link:
        yield link


def test_a_cpu_that_is_elsewhere() -> None:
    """It closes the connection, as a CPU does where the slot is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close() -> None:
            plug, _ = listener.accept()
            with plug:
                plug.recv(100)

        thread = threading.Thread(target=close)
        thread.start()
        said = r"no connection at rack 0, slot 1 .*S7-300 at slot 2"
        with pytest.raises(LineError, match=said), linked(listener.getsockname()[1]):
            pass
        thread.join()
    with pytest.raises(LineError, match="check address, port and cable"), linked(free_port()):
        pass


def test_an_answer_in_drops_ends_at_the_deadline() -> None:
    """Each byte comes in time, the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            plug, _ = listener.accept()
            with plug:
                plug.recv(100)
                for byte in b"\x03\x00\x40\x00" + bytes(60):
                    time.sleep(0.05)
                    try:
                        plug.sendall(bytes([byte]))
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(LineError), linked(listener.getsockname()[1], timeout_ms=200):
            pass
        assert time.monotonic() - began < 1
        thread.join()


def test_the_library_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ast_edge.line.links import s7  # noqa: PLC0415

    s7._library.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "snap7.connection", None)
    with pytest.raises(LineError, match=r"python-snap7, which is not installed; run: .*\[s7\]"):
        S7Link(S7Options(host="plc")).open()
    s7._library.cache_clear()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"db": 0},
        {"db": 1, "start": 3},
        {"db": 1, "start": 65_500},
        {"db": 100, "reject_bit": "DB100.DBX45.7"},
        {"reject_bit": "DB100.DBW46"},
        {"reject_bit": "coil"},
        {"db": 1, "rack": 8},
        {"db": 1, "slot": 32},
        {"db": 1, "registers": 5},
    ],
)
def test_output_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        S7OutputOptions.model_validate({"kind": "s7", "host": "plc", **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"counter": "DB1.DBD0", "sensor": "I0.0"},
        {"counter": "I0.0"},
        {"sensor": "DB1.DBD0"},
        {"sensor": "I0.0", "judged": "DB1.DBD24"},
        {"counter": "DB1.DBD0", "poll_ms": 200, "max_gap_ms": 200},
    ],
)
def test_trigger_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        S7TriggerOptions.model_validate({"kind": "s7", "host": "plc", **options})
