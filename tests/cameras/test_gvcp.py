"""The packets that check whether a GigE Vision camera is alive."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from ast_edge.cameras.gvcp import answer, request


def test_the_question_is_a_read_of_the_control_privilege() -> None:
    # GigE Vision: key, acknowledge wanted, READREG_CMD, length, request id, address of the CCP register.
    assert request(0x1234) == bytes.fromhex("42 01 0080 0004 1234 00000a00")


def test_answers() -> None:
    assert answer(bytes.fromhex("0000 0081 0004 1234 00000002")) == 2
    assert answer(bytes.fromhex("8006 0081 0000 1234")) == -1, "access denied is an answer"
    assert answer(bytes.fromhex("0000 0083 0004 1234 00000002")) is None, "of another question"
    assert answer(b"") is None


@given(st.binary(max_size=64))
def test_rubbish_is_no_answer(packet: bytes) -> None:
    found = answer(packet)
    assert found is None or found == -1 or packet[8:] == struct.pack(">I", found)
