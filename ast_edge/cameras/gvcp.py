"""Whether a GigE Vision camera still lives, asked of the camera itself, several times a second.

Aravis asks once a second and gives a silent camera more than five before it says so; parts go by meanwhile.
Any program may read a camera's registers (GigE Vision, "Control channel"), so this takes nothing from it.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

_PORT = 3956  # fixed by the standard
_KEY, _ACKNOWLEDGE, _READ_REGISTER, _ANSWER = 0x42, 0x01, 0x0080, 0x0081
_PRIVILEGE = 0x0A00  # the register that says whether somebody controls the camera
_CONTROLLED = 0b11  # exclusive access, control access
_PERIOD_S, _PATIENCE_S = 0.2, 0.2
_UNANSWERED = 4


def request(number: int) -> bytes:
    """The packet that asks for the register of the control privilege."""
    return struct.pack(">BBHHHI", _KEY, _ACKNOWLEDGE, _READ_REGISTER, 4, number, _PRIVILEGE)


def answer(packet: bytes) -> int | None:
    """What the register holds; -1 where the camera answers and does not tell; None for anything else."""
    if len(packet) < 8:
        return None
    status, kind, length, _ = struct.unpack_from(">HHHH", packet)
    if kind != _ANSWER:
        return None
    if status != 0 or length != 4 or len(packet) != 12:
        return -1
    return int(struct.unpack_from(">I", packet, 8)[0])


class Pulse:
    """Watches one camera from a thread of its own; `gone` says in words why it is lost, "" while it is not.

    A camera that does not answer the first questions, behind a strict firewall say, is not watched.
    """

    def __init__(self, address: str) -> None:
        self.gone = ""
        self._number = 0
        self._ended = threading.Event()
        self._asking = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Connected, so that a computer that answers "nobody listens here" is heard.
        self._socket.connect((address, _PORT))
        self._thread = threading.Thread(target=self._watch, name="ast-edge-gige-pulse", daemon=True)
        self.watching = any(self.ask() is not None for _ in range(_UNANSWERED))
        if self.watching:
            self._thread.start()

    def ask(self) -> int | None:
        """The control privilege, -1 where the camera does not tell it; None without an answer."""
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
        """Whether the camera answers now; True where it never did."""
        if not self.watching:
            return True
        return not self.gone and any(self.ask() is not None for _ in range(2))

    def close(self) -> None:
        """Let go; a second call does nothing."""
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
                self.gone = "the camera does not answer any more; check cable and power"
            elif found is not None and found >= 0 and not found & _CONTROLLED:
                self.gone = "the camera does not know this program any more; it was switched off and on"
