"""What goes wrong in the stand-in for TensorRT, and which version it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.standin import software_driver


@dataclass
class Behaviour:
    """How the stand-in behaves from now on."""

    version: str = "8.6.1"
    rtx: bool = False
    capturable: bool = True
    parser_errors: list[str] = field(default_factory=list)
    build_error: str = ""
    score_factor: float = 1.0
    refuse_context: bool = False
    refuse_execution: bool = False
    refuse_executions: set[int] = field(default_factory=set)
    take_memory_at: int = 0
    executions: int = 0
    execution_error: str = "Error Code 1: Cask (Cask convolution execution)"
    refuse_driver: str = ""
    interrupted_at: int | None = None
    dla_cores: int = 0
    flags: list[str] = field(default_factory=list)
    builds: int = 0
    calls: list[str] = field(default_factory=list)


BEHAVIOUR = Behaviour()


def behaviour() -> Behaviour:
    """The behaviour in force; `standins` replaces it."""
    return BEHAVIOUR


class Killed(BaseException):
    """In the place of a process that TensorRT ended."""


def needs_context() -> None:
    if not software_driver.has_context():
        raise Killed("no context is current in this thread")
