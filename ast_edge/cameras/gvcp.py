"""Checks several times a second that a GigE Vision camera still answers, by querying the camera itself.

Aravis queries once a second and tolerates a silent camera for more than five; parts would pass meanwhile.
Any program may read a camera's registers (GigE Vision, "Control channel"), so this does not disturb Aravis.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

_PORT = 3956  # fixed by the standard
_KEY, _ACKNOWLEDGE, _READ_REGISTER, _ANSWER = 0x42, 0x01, 0x0080, 0x0081
_PRIVILEGE = 0x0A00  # the register that shows whether a program controls the camera
_CONTROLLED = 0b11  # exclusive access, control access
_PERIOD_S, _PATIENCE_S = 0.2, 0.2
_UNANSWERED = 4


def request(number: int) -> bytes:
    """Return the packet that reads the register of the control privilege."""
    return struct.pack(">BBHHHI", _KEY, _ACKNOWLEDGE, _READ_REGISTER, 4, number, _PRIVILEGE)


def answer(packet: bytes) -> int | None:
    """Return the register's value; -1 if the camera answers without it; None for any other packet."""
    if len(packet) < 8:
        return None
    status, kind, length, _ = struct.unpack_from(">HHHH", packet)
    if kind != _ANSWER:
        return None
    if status != 0 or length != 4 or len(packet) != 12:
        return -1
    return int(struct.unpack_from(">I", packet, 8)[0])


class Pulse:
    """Watches one camera in its own thread; `gone` is the reason why it is lost, "" while it is not.

    A camera that does not answer the first queries, for example behind a strict firewall, is not watched.
    """

    def __init__(self, address: str) -> None:
        self.gone = ""
        self._number = 0
        self._ended = threading.Event()
        self._asking = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Connected, so that an ICMP "port unreachable" is received.
        self._socket.connect((address, _PORT))
        self._thread = threading.Thread(target=self._watch, name="ast-edge-gige-pulse", daemon=True)
        self.watching = any(self.ask() is not None for _ in range(_UNANSWERED))
        if self.watching:
            self._thread.start()

    def ask(self) -> int | None:
        """Return the control privilege, -1 if the camera does not report it, None without an answer."""
        with self._asking:
            self._number = self._number % 0xFFFF + 1
            end = time.monotonic() + _PATIENCE_S
            try:
                self._socket.send(request(self._number))
                while (left_s := end - time.monotonic()) > 0:
                    self._socket.settimeout(left_s)
                    if (found := answer(self._socket.recv(64))) is not None:
                        return found
            except OSError:
                self._ended.wait(max(end - time.monotonic(), 0))
            return None

    def lives(self) -> bool:
        """Whether the camera answers; True if it never did."""
        if not self.watching:
            return True
        return not self.gone and any(self.ask() is not None for _ in range(2))

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def _watch(self) -> None:
        unanswered = 0
        while not self._ended.wait(_PERIOD_S) and not self.gone:
            found = self.ask()
            unanswered = 0 if found is not None else unanswered + 1
            if unanswered >= _UNANSWERED:
                self.gone = "the camera no longer answers; check cable and power"
            elif found is not None and found >= 0 and not found & _CONTROLLED:
                self.gone = "the camera lost the connection to this program; it was power-cycled"
