"""The EtherNet/IP client: every answer is checked, deadlines hold, errors name the tag and what to set."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.links import ethernet_ip
from ast_edge.line.links.ethernet_ip import (
    EthernetIpLink,
    EthernetIpOptions,
    Tag,
    check_answer,
    split_answers,
)
from ast_edge.line.outputs.block import FIELDS
from ast_edge.line.outputs.ethernet_ip import EthernetIpOutputOptions
from ast_edge.line.triggers.ethernet_ip import EthernetIpTriggerOptions
from tests.line.plcs import ETHERNET_IP, KnownPlc
from tests.waiting import free_port

COUNT = Tag("Count", "DINT")
# A request over the connection, and its answer: header, items, sequence number, service, status.
ASKED = bytes.fromhex(
    "7000 1800 01000000 00000000 0102030405060708 00000000 00000000 0a00 0200 a100 0400 11223344 b100 0400 "
    "8913 4c00"
)
ANSWER = bytes.fromhex(
    "7000 1c00 01000000 00000000 0102030405060708 00000000 00000000 0a00 0200 a100 0400 11223344 b100 0800 "
    "8913 cc00 0000 c400"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnownPlc]:
    with ETHERNET_IP.plc(tmp_path_factory.mktemp("plc")) as running:
        yield running


@pytest.fixture
def plc(server: KnownPlc) -> KnownPlc:
    server.spoil("ok")
    return server


@contextmanager
def linked(port: int, timeout_ms: float = 2000, slot: int = 0) -> Iterator[EthernetIpLink]:
    link = EthernetIpLink(EthernetIpOptions(host="127.0.0.1", port=port, timeout_ms=timeout_ms, slot=slot))
    link.open()
    try:
        yield link
    finally:
        link.close()


def test_the_true_answer_is_taken_in_any_pieces() -> None:
    for upto in range(1, len(ANSWER) + 1):
        check_answer(ASKED, ANSWER[:upto])


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (0, "command"),
        (8, "refused the request"),
        (4, "session"),
        (12, "context"),
        (44, "sequence number"),
        (46, "another service"),
    ],
)
def test_an_answer_to_something_else_is_refused(at: int, said: str) -> None:
    wrong = ANSWER[:at] + bytes([ANSWER[at] ^ 1]) + ANSWER[at + 1 :]
    with pytest.raises(LineError, match=said):
        check_answer(ASKED, wrong)


def test_more_than_an_answer_is_refused() -> None:
    with pytest.raises(LineError, match="more than was requested"):
        check_answer(ASKED, ANSWER + b"\0")
    with pytest.raises(LineError, match="a length of 65535"):
        check_answer(ASKED, ANSWER[:2] + b"\xff\xff")


@given(st.binary(min_size=2, max_size=200))
def test_rubbish_is_refused_or_not_yet_complete(rubbish: bytes) -> None:
    try:
        check_answer(ASKED, rubbish)
    except LineError:
        return
    assert rubbish[:2] == ASKED[:2]


def test_several_tags_are_one_request(plc: KnownPlc) -> None:
    plc.ask("counter", value=70_000)
    plc.sensor(on=True)
    plc.belt(0, counts=9)
    with linked(plc.port) as link:
        before = plc.ask("halt")["asked"]
        count, encoder, sensor = link.read([COUNT, Tag("Encoder16", "INT"), Tag("Sensor", "BOOL")])
        assert (count, encoder) == ((70_000).to_bytes(4, "little"), b"\x09\x00")
        assert any(sensor)
        assert plc.ask("halt")["asked"] == before + 1
    plc.sensor(on=False)
    plc.ask("counter", value=0)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        (Tag("Nope", "DINT"), "Nope cannot be accessed, status 0x05 0000: there is no such tag"),
        (Tag("Count", "INT"), "Count is of type DINT, not INT; `ast-edge run --example ethernet-ip-tags`"),
        (
            Tag("Short[2]", "DINT", 9),
            "Short[2] cannot be accessed, status 0xff 0521: the tag has too few elements",
        ),
    ],
)
def test_a_tag_that_does_not_fit(plc: KnownPlc, tag: Tag, said: str) -> None:
    with linked(plc.port) as link:
        with pytest.raises(LineError) as caught:
            link.read([tag])
        assert said in str(caught.value)
        assert not link.is_open
        link.open()
        with pytest.raises(LineError) as caught:
            link.read([COUNT, tag])
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        (Tag("Nope", "DINT"), "there is no such tag"),
        (Tag("Reject", "DINT"), "the tag is of another type"),
        (Tag("AstEdge[14]", "DINT", 2), "the tag has too few elements"),
    ],
)
def test_a_write_that_does_not_fit(plc: KnownPlc, tag: Tag, said: str) -> None:
    before = len(plc.events("registers"))
    with linked(plc.port) as link, pytest.raises(LineError, match=said):
        link.write(tag, bytes(4 * tag.count))
    assert len(plc.events("registers")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("denied", "status 0x0f: it may not be accessed: set External Access of the tag to Read/Write"),
        ("program", "status 0x10: the controller's state forbids it"),
        ("busy", "status 0x02: the controller has no resources left"),
        ("silent", "it did not answer in time"),
        ("wrong_sequence", "it answered a different request (sequence number)"),
        ("long", "it answered more than was requested"),
    ],
)
def test_what_a_refusal_says(plc: KnownPlc, mode: str, said: str) -> None:
    with linked(plc.port, timeout_ms=1000) as link:
        plc.spoil(mode)
        with pytest.raises(LineError) as caught:
            link.read([COUNT])
        assert said in str(caught.value)
        assert not link.is_open
        with pytest.raises(LineError):
            link.open()


def test_an_answer_of_random_bytes_is_no_data(plc: KnownPlc) -> None:
    """The frame is right, what is in it is not."""
    refused = 0
    for _ in range(20):
        plc.spoil("ok")
        with linked(plc.port) as link:
            plc.spoil("scrambled")
            try:
                assert len(link.read([COUNT, Tag("Encoder", "DINT")])[0]) == 4
            except LineError:
                refused += 1
                assert not link.is_open
    assert refused > 15


@given(st.binary(max_size=60), st.integers(1, 3))
def test_several_answers_are_split_or_refused(data: bytes, count: int) -> None:
    try:
        found = split_answers(data, count)
    except LineError:
        return
    assert len(found) == count
    assert all(len(part) >= 2 for part in found)


def test_a_controller_that_is_absent_or_closes() -> None:
    with pytest.raises(LineError, match="check address, port and cable"), linked(free_port()):
        pass
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close() -> None:
            plug, _ = listener.accept()
            with plug:
                plug.recv(100)

        thread = threading.Thread(target=close)
        thread.start()
        with pytest.raises(LineError, match="it closed the connection"), linked(listener.getsockname()[1]):
            pass
        thread.join()


def test_an_answer_in_drops_ends_at_the_deadline() -> None:
    """Each byte comes in time, the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            plug, _ = listener.accept()
            with plug:
                asked = plug.recv(100)
                for byte in asked[:2] + b"\x40\x00" + asked[4:24] + bytes(64):
                    time.sleep(0.05)
                    try:
                        plug.sendall(bytes([byte]))
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        said = pytest.raises(LineError, match="did not answer in time")
        with said, linked(listener.getsockname()[1], timeout_ms=200):
            pass
        assert time.monotonic() - began < 1
        thread.join()


def test_the_library_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    ethernet_ip._library.cache_clear()
    monkeypatch.setitem(sys.modules, "pycomm3", None)
    with pytest.raises(LineError, match=r"pycomm3, which is not installed; run: .*\[ethernet-ip\]"):
        EthernetIpLink(EthernetIpOptions(host="plc")).open()
    ethernet_ip._library.cache_clear()


def test_the_judged_element() -> None:
    options = EthernetIpOutputOptions(kind="ethernet-ip", host="plc", tag="Program:Main.AstEdge")
    assert options.judged_place == "Program:Main.AstEdge[7]"
    assert FIELDS[7].name == "judged"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tag": "Ast Edge"},
        {"tag": "AstEdge[3]"},
        {"tag": "1st"},
        {"tag": "AstEdge", "slot": 17},
        {"reject_tag": "A" * 41},
        {"reject_tag": "A..B"},
        {"tag": "AstEdge", "registers": 5},
    ],
)
def test_output_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EthernetIpOutputOptions.model_validate({"kind": "ethernet-ip", "host": "plc", **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"counter_tag": "A", "sensor_tag": "B"},
        {"sensor_tag": "A", "judged_tag": "AstEdge[7]"},
        {"counter_tag": "A", "counter_bits": 8},
        {"counter_tag": "A", "poll_ms": 200, "max_gap_ms": 200},
    ],
)
def test_trigger_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EthernetIpTriggerOptions.model_validate({"kind": "ethernet-ip", "host": "plc", **options})
