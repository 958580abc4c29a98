"""The exceptions of ast-edge. Every message says what, where, what was expected, found, and what to do."""

from __future__ import annotations


class AstEdgeError(Exception):
    """Base of every error that ast-edge raises deliberately; the command line prints it in one sentence."""

    exit_code = 1


class InterruptedWorkError(AstEdgeError):
    """Ctrl-C during work that can be continued; the message says how."""

    exit_code = 130


class UsageError(AstEdgeError):
    """Options or arguments that conflict or have an impossible value."""

    exit_code = 2


class DataError(AstEdgeError):
    """A data folder or one of its files cannot be used for training or evaluation."""


class FrameError(AstEdgeError, ValueError):
    """A frame or depth map handed to the runtime has the wrong dtype, shape or content."""


class ModelError(AstEdgeError):
    """A model file is refused: not made by ast-edge, damaged, modified, or newer than this version."""


class BackendError(AstEdgeError):
    """An engine library is missing on this machine or failed."""


class RunError(AstEdgeError):
    """A training run folder is missing, incomplete, or does not match the request."""


class WeightsError(AstEdgeError):
    """Backbone weights are not available or do not fit the backbone."""


class ParityError(AstEdgeError):
    """A model does not reproduce its reference vectors."""


class CameraError(AstEdgeError):
    """A camera cannot be opened, or cannot continue."""


class LostFrameError(CameraError):
    """One frame cannot be delivered; the camera continues. `number` is the frame's, None if unknown."""

    def __init__(self, words: str, number: int | None = None) -> None:
        super().__init__(words)
        self.number = number


class NotTriggeredError(CameraError):
    """A camera did not get a request for a frame: none will come of it, and another may be requested."""


class LineError(AstEdgeError):
    """A station's configuration is refused, or one of its parts failed."""


def sentence(exc: BaseException) -> str:
    """Describe an exception for a person, on one line.

    Errors of ast-edge are unchanged; errors of the system are preceded by the file that they name, if any;
    others by the name of their class.
    """
    where = exc.filename if isinstance(exc, OSError) and exc.filename else ""
    return f"{where}: {reason(exc)}" if where else reason(exc)


def reason(exc: BaseException) -> str:
    """`sentence` without the file, for messages that already name it."""
    if isinstance(exc, AstEdgeError):
        return str(exc)
    text = _one_line(exc)
    if isinstance(exc, OSError):
        return exc.strerror or text or type(exc).__name__
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def message(exc: BaseException) -> str:
    """What an exception says, on one line, for messages that name its library; if nothing, its class."""
    return _one_line(exc) or type(exc).__name__


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())
