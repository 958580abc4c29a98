"""The tree of errors. Every message says what, where, what was expected, what was found and what to do."""

from __future__ import annotations


class AstEdgeError(Exception):
    """Base of every error that ast-edge raises on purpose; the command line prints it in one sentence."""

    exit_code = 1


class UsageError(AstEdgeError):
    """Options or arguments that cannot be used together or hold an impossible value."""

    exit_code = 2


class DataError(AstEdgeError):
    """A data folder or one of its files cannot be used for training or evaluation."""


class FrameError(AstEdgeError, ValueError):
    """A frame or depth map handed to the runtime has the wrong dtype, shape or content."""


class ModelError(AstEdgeError):
    """A model file is refused: not ours, damaged, tampered with, or newer than this version."""


class BackendError(AstEdgeError):
    """An engine library is missing on this machine or failed."""


class RunError(AstEdgeError):
    """A training run folder is missing, incomplete, or does not match what was asked."""


class WeightsError(AstEdgeError):
    """Backbone weights cannot be had or do not fit the backbone."""


class ParityError(AstEdgeError):
    """A model does not reproduce its reference vectors."""


class CameraError(AstEdgeError):
    """A camera cannot be opened, or cannot go on."""


class LostFrameError(CameraError):
    """One frame cannot be had; the camera goes on."""


class LineError(AstEdgeError):
    """A station's configuration is refused, or one of its parts failed."""
