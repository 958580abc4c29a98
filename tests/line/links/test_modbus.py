"""The Modbus client: it checks every answer and keeps its timeout."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.links.modbus import ModbusLink, ModbusOptions, check_answer, from_words, to_words
from benchmarks.line.plc import Plc
from tests.waiting import free_port

ASKED = bytes.fromhex("0007 0000 0006 01 05 0003ff00")


@contextmanager
def answering(*answers: bytes) -> Iterator[ModbusLink]:
    """A link to a server that gives these answers, one for each request, and then closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            plug, _ = server.accept()
            with plug:
                for answer in answers:
                    if not plug.recv(300):
                        return
                    plug.sendall(answer)
                plug.recv(300)

        thread = threading.Thread(target=serve)
        thread.start()
        link = ModbusLink(ModbusOptions(host="127.0.0.1", port=server.getsockname()[1], timeout_ms=300))
        try:
            link.open()
            yield link
        finally:
            link.close()
            thread.join()


@given(st.integers(0, (1 << 32) - 1), st.sampled_from(["big", "little"]))
def test_two_registers_are_one_number(value: int, order: str) -> None:
    words = to_words(value, order)  # type: ignore[arg-type]
    assert from_words(words, order) == value  # type: ignore[arg-type]
    assert all(0 <= word <= 0xFFFF for word in words)


def test_word_orders_and_signs() -> None:
    assert to_words(0x12345678, "big") == [0x1234, 0x5678]
    assert to_words(0x12345678, "little") == [0x5678, 0x1234]
    assert to_words(-1, "big") == [0xFFFF, 0xFFFF]
    assert from_words([7], "big") == 7


def test_the_true_answer_is_taken_in_any_pieces() -> None:
    for upto in range(1, len(ASKED) + 1):
        check_answer(ASKED, ASKED[:upto])


@given(st.binary(min_size=1, max_size=300))
def test_rubbish_is_refused_or_not_yet_complete(rubbish: bytes) -> None:
    try:
        check_answer(ASKED, rubbish)
    except LineError:
        return
    # What got through has the header of the answer, as far as it goes.
    assert rubbish[:4] == ASKED[: len(rubbish[:4])]
    assert len(rubbish) <= 6 + 254


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("0002 0000 0006 01 05 0003ff00", "a different request"),
        ("0001 0100 0006 01 05 0003ff00", "a different request"),
        ("0001 0000 0006 02 05 0003ff00", "as device"),
        ("0001 0000 0002 01 05 0003ff00", "a length of"),
        ("0001 0000 00ff 01 05 0003ff00", "a length of"),
        ("0001 0000 0006 01 06 0003ff00", "another function"),
        ("0001 0000 0006 01 05 0004ff00", "something else"),
        ("0001 0000 0006 01 05 00030000", "something else"),
        ("0001 0000 0006 01 05 0003ff0000", "more than"),
        ("0001 0000 0003 01 05 00", "invalid answer"),
        ("0001 0000 0003 01 85 02", "exception 2 (illegal address)"),
        ("0001 0000 0003 01 85 63", "exception 99 (unknown)"),
    ],
)
def test_what_is_wrong_with_an_answer(answer: str, word: str) -> None:
    with answering(bytes.fromhex(answer)) as link, pytest.raises(LineError) as caught:
        link.write_coil(3, on=True)
    assert word in str(caught.value)
    assert not link.is_open


@settings(max_examples=30)
@given(st.binary(min_size=1, max_size=40))
def test_a_registers_answer_of_any_content_gives_that_many_or_an_error(body: bytes) -> None:
    answer = b"\0\1\0\0" + (len(body) + 2).to_bytes(2, "big") + b"\1\3" + body
    with answering(answer) as link:
        try:
            values = link.read_registers("holding", 0, 2)
        except LineError:
            assert not link.is_open
        else:
            assert len(values) == 2
            assert all(0 <= value <= 0xFFFF for value in values)


def test_silence_ends_in_time_and_the_connection_with_it() -> None:
    began = time.monotonic()
    with answering(b"\0\1") as link:
        with pytest.raises(LineError, match="did not answer in time"):
            link.write_registers(0, [1, 2, 3])
        assert time.monotonic() - began < 10
        with pytest.raises(LineError, match="not connected"):
            link.write_coil(0, on=True)


def test_a_slow_trickle_ends_in_time_too() -> None:
    """One byte after the other: each comes in time, the answer as a whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ending = threading.Event()

        def serve() -> None:
            plug, _ = server.accept()
            with plug:
                asked = plug.recv(300)
                for byte in asked:
                    if ending.wait(0.1):
                        return
                    plug.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        link = ModbusLink(ModbusOptions(host="127.0.0.1", port=server.getsockname()[1], timeout_ms=250))
        link.open()
        with pytest.raises(LineError, match="did not answer in time"):
            link.write_coil(0, on=True)
        ending.set()
        thread.join()


def test_a_connection_that_is_closed() -> None:
    with answering() as link:
        link._client.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(LineError, match=r"lost|closed"):
            link.read_bit("coil", 0)


def test_an_absent_counterpart_is_one_sentence() -> None:
    port = free_port()
    with pytest.raises(LineError, match=f"PLC 127.0.0.1:{port}: no connection .*check address"):
        ModbusLink(ModbusOptions(host="127.0.0.1", port=port)).open()


@pytest.mark.parametrize(
    "options",
    [{"host": ""}, {"port": 0}, {"device_id": 256}, {"timeout_ms": 0}, {"unit": 1}, {"host": "a b"}],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModbusOptions.model_validate({"host": "plc", **options})


def test_a_plc_with_another_unit_id_is_named(tmp_path: Path) -> None:
    """A real server that answers as another unit: what was expected, what came, and what to set."""
    with Plc(tmp_path) as plc:
        plc.spoil("wrong_device")
        link = ModbusLink(ModbusOptions(host="127.0.0.1", port=plc.port, device_id=3, timeout_ms=5000))
        link.open()
        with pytest.raises(LineError, match=r"as device \(unit\) 86, not 3: set device_id = 86"):
            link.read_registers("holding", 0, 1)
        assert not link.is_open


@pytest.mark.parametrize(("host", "where"), [("::1", "[::1]:502"), ("plc", "plc:502")])
def test_an_address_is_written_as_a_url_has_it(host: str, where: str) -> None:
    assert ModbusLink(ModbusOptions(host=host)).where == where
