"""The library of each GPU: TensorRT for RTX, or TensorRT.

NVIDIA's support matrix of TensorRT for RTX lists desktop GPUs from Turing to Blackwell, and GB10. Volta,
Hopper and Blackwell in data centres (7.0, 9.0, 10.0) and Jetsons (7.2, 8.7, 11.0) are not among them.
"""

from __future__ import annotations

import re

from ast_edge.errors import UsageError

TURING = "7.5"
# From Ampere on one engine serves all. One that serves Turing too has no INT8 and other kernels for everyone.
SINCE_AMPERE = ("8.0", "8.6", "8.9", "12.0", "12.1")
CAPABILITIES = (TURING, *SINCE_AMPERE)
# Marketing names from NVIDIA's list of CUDA GPUs, the most specific first.
_NAMES = (
    (re.compile(r"rtx-?pro-?\d{3,4}.*|rtx-?50[5-9]0.*"), "12.0"),
    (re.compile(r"gb10|dgx-?spark"), "12.1"),
    (re.compile(r"rtx-?\d{4}-?ada.*|rtx-?40[5-9]0.*|l4|l40s?"), "8.9"),
    (re.compile(r"rtx-?a\d{3,4}.*|rtx-?30[5-9]0.*|a10|a16|a2|a40"), "8.6"),
    (re.compile(r"a100.*|a30"), "8.0"),
    (
        re.compile(r"rtx-?20[5-8]0.*|gtx-?16[3-6]0.*|quadro-?rtx.*|rtx-?[3-8]000|t4|t[46]00|t1[02]00|t1000"),
        "7.5",
    ),
)
_SM = re.compile(r"(?:sm[-_]?|)(\d{1,2})\.?(\d)")


def parse_gpus(text: str) -> tuple[str, ...]:
    """The compute capabilities named by `--gpu`: `rtx-4060`, `sm89`, `all`, or several separated by commas.

    `all` means all from Ampere on. Raises UsageError for a GPU that is unknown or takes TensorRT.
    """
    found = [one for word in text.split(",") for one in _capabilities(word.strip().lower(), text)]
    return tuple(sorted(dict.fromkeys(found), key=CAPABILITIES.index))


def _capabilities(word: str, text: str) -> tuple[str, ...]:
    if word == "all":
        return SINCE_AMPERE
    name = re.sub(r"[ _]+", "-", word.removeprefix("nvidia ").removeprefix("geforce "))
    capability = next((capability for pattern, capability in _NAMES if pattern.fullmatch(name)), None)
    if capability is None and (numbers := _SM.fullmatch(name)):
        capability = f"{numbers[1]}.{numbers[2]}"
    if capability is None:
        raise UsageError(
            f"--gpu {text}: expected the name of an RTX GPU, as in rtx-4060, a compute capability, as in "
            f"sm89, or all; found '{word}'."
        )
    if capability not in CAPABILITIES:
        raise UsageError(
            f"--gpu {text}: TensorRT for RTX does not serve compute capability {capability}, only "
            f"{', '.join(CAPABILITIES)}; data-centre GPUs and Jetsons take TensorRT: leave out --for rtx and "
            "build on the machine itself."
        )
    return (capability,)


def takes_rtx(capability: str, *, integrated: bool) -> bool:
    """Whether TensorRT for RTX serves a GPU: of the `integrated` ones it serves GB10, and no Jetson."""
    return capability in CAPABILITIES and (not integrated or capability == "12.1")
