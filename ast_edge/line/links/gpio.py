"""GPIO lines through the kernel's character device (libgpiod 2), for outputs and triggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Options
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    import gpiod

LineId = Annotated[int, Field(ge=0, le=1023)] | Annotated[str, Field(min_length=1, max_length=63)]
Chip = Annotated[str, Field(max_length=255, pattern=r"^/dev/[A-Za-z0-9._/-]+$")]
Edge = Literal["rising", "falling"]
Bias = Literal["as_is", "disabled", "pull_up", "pull_down"]
CONSUMER = "ast-edge"


class GpioLine(Options):
    """One line of the chip: `line` is its name or offset; `active_low`: on means a low level."""

    line: LineId
    active_low: bool = False


class GpioInput(GpioLine):
    """An input line: `edge` is logical (after `active_low`), `bias` is the chip's pull resistor.

    `debounce_ms`: the level must be stable for this long; the edge's time is then the end of that interval. 0
    disables it.
    """

    edge: Edge = "rising"
    bias: Bias = "as_is"
    debounce_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0


def output_settings(line: GpioLine) -> gpiod.LineSettings:
    """Return the settings of an output that is initially off, for `request_lines`. Raises LineError."""
    check_gpiod()
    from gpiod import LineSettings  # noqa: PLC0415 (only where GPIO is used)
    from gpiod.line import Direction, Value  # noqa: PLC0415 (only where GPIO is used)

    return LineSettings(direction=Direction.OUTPUT, active_low=line.active_low, output_value=Value.INACTIVE)


def input_settings(line: GpioInput) -> gpiod.LineSettings:
    """Return the settings of an input with CLOCK_MONOTONIC times, for `request_lines`. Raises LineError."""
    check_gpiod()
    from gpiod import LineSettings  # noqa: PLC0415 (only where GPIO is used)
    from gpiod import line as words  # noqa: PLC0415 (only where GPIO is used)

    return LineSettings(
        direction=words.Direction.INPUT,
        edge_detection=words.Edge.RISING if line.edge == "rising" else words.Edge.FALLING,
        bias=words.Bias[line.bias.upper()],
        active_low=line.active_low,
        debounce_period=timedelta(milliseconds=line.debounce_ms),
        event_clock=words.Clock.MONOTONIC,
    )


def request_lines(
    chip: str, lines: Mapping[LineId, gpiod.LineSettings], *, events: int | None = None
) -> gpiod.LineRequest:
    """Request lines; `events` is the kernel's buffer size for edges. Raises LineError."""
    import gpiod  # noqa: PLC0415 (only where GPIO is used)

    names = ", ".join(str(line) for line in lines)
    config: dict[Iterable[int | str] | int | str, gpiod.LineSettings | None] = dict(lines.items())
    try:
        return gpiod.request_lines(chip, config=config, consumer=CONSUMER, event_buffer_size=events)
    except PermissionError as exc:
        raise LineError(
            f"GPIO {chip}: no permission; add the user who runs the station to the group of {chip}."
        ) from exc
    except (OSError, ValueError, NotImplementedError) as exc:
        raise LineError(
            f"GPIO {chip}: line {names} cannot be requested ({sentence(exc)}); gpioinfo lists chips, lines "
            "and their users."
        ) from exc


def check_gpiod() -> None:
    """Raise LineError if the library is missing, or is the old one of the same name."""
    try:
        from gpiod import LineSettings, request_lines  # noqa: F401, PLC0415 (only where GPIO is used)
    except ImportError as exc:
        raise LineError(f"GPIO needs gpiod 2.1 or newer; run: {install_hint('line')}") from exc
