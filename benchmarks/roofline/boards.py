"""Published ceilings of Jetson boards, each with its source, and what is assumed about reaching them.

None of these boards was at hand: what is computed from this table is a prediction. NVIDIA's headline TOPS
count structured sparsity, which these networks do not have; the rates here are dense ones, and multiply-
accumulates, of which one is two operations.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.roofline.bounds import Ceilings, Habits


@dataclass(frozen=True)
class Board:
    """A module in one power mode: clocks and units of its GPU alone, without DLAs.

    `fp32_macs`, `fp16_macs` and `int8_macs` are dense multiply-accumulates of one multiprocessor in one
    clock; FP32 is that of the CUDA cores, as engines are built with TF32 off.
    """

    key: str
    name: str
    power_mode: str
    bytes_per_s: float
    multiprocessors: int
    clock_hz: float
    fp32_macs: int
    fp16_macs: int
    int8_macs: int
    source: str

    def ceilings(self) -> Ceilings:
        """At the highest clock of the power mode."""
        per_clock = {"fp32": self.fp32_macs, "fp16": self.fp16_macs, "int8": self.int8_macs}
        scale = self.multiprocessors * self.clock_hz
        return Ceilings(self.bytes_per_s, {name: macs * scale for name, macs in per_clock.items()})

    def habits(self) -> Habits:
        """The assumptions of the cautious estimate; `ASSUMED` says where they come from."""
        return Habits(
            bytes_per_s=USUAL_BANDWIDTH * self.bytes_per_s, share=USUAL_SHARE, node_s=NODE_S, shares=SHARES
        )


USUAL_BANDWIDTH = 0.6
USUAL_SHARE = 0.25
SHARES = {"fp32": 0.5, "depthwise fp32": 0.25, "depthwise": 0.02}
NODE_S = 10e-6
ASSUMED = (
    "Assumed, not measured: 60 % of the published bandwidth; at batch 1 25 % of the dense FP16 and INT8 "
    "rates and 50 % of the FP32 rate; of depthwise convolutions, 2 % and 25 %; 10 us to start each node of "
    "the graph. For comparison: torch's large products on a Thor reach 121 of "
    "258 TFLOPS in FP16 and 6.4 of 8.1 in FP32 (github.com/zzc0721/torch-performance-test-data, issue 151); "
    "YOLOv8n at 640 pixels, 4.35 GMAC, takes 3.49 ms in INT8 with TensorRT 10.3 on an Orin Nano 8 GB in "
    "MAXN_SUPER (hokwangchoi.com/blog/vision-benchmarks), 13 times what the dense matrix rate allows."
)

_ORIN_CLOCK = (
    "An Orin multiprocessor does 128 FP32, 1024 FP16 and 2048 INT8 dense multiply-accumulates a clock: AGX "
    "Orin's 85 dense INT8 TOPS of the GPU / (2 x 16 multiprocessors x 1.3 GHz) = 2043; FP16 is half of it, "
    "and FP32 one for each of 128 CUDA cores."
)
BOARDS = (
    Board(
        key="orin_nano_8gb_15w",
        name="Orin Nano 8 GB",
        power_mode="15 W, not Super, 625 MHz",
        bytes_per_s=68e9,
        multiprocessors=8,
        clock_hz=625e6,
        fp32_macs=128,
        fp16_macs=1024,
        int8_macs=2048,
        source="NVIDIA Jetson Orin Nano Series Data Sheet: 625 MHz, 1024 CUDA cores, 68 GB/s, 40 sparse INT8 "
        "TOPS, so 20 dense (8 x 625 MHz x 2 x 2048 = 20.5). " + _ORIN_CLOCK,
    ),
    Board(
        key="orin_nano_8gb_super",
        name="Orin Nano 8 GB Super",
        power_mode="MAXN_SUPER (25 W), 1020 MHz",
        bytes_per_s=102e9,
        multiprocessors=8,
        clock_hz=1020e6,
        fp32_macs=128,
        fp16_macs=1024,
        int8_macs=2048,
        source="developer.nvidia.com/blog/nvidia-jetson-orin-nano-developer-kit-gets-a-super-boost: "
        "1020 MHz, 102 GB/s, 67 sparse and 33 dense INT8 TOPS, 17 FP16 TFLOPS "
        "(8 x 1020 MHz x 2 x 2048 = 33.4 and 16.7). " + _ORIN_CLOCK,
    ),
    Board(
        key="orin_nx_16gb",
        name="Orin NX 16 GB",
        power_mode="MAXN (25 W), not Super, 918 MHz",
        bytes_per_s=102.4e9,
        multiprocessors=8,
        clock_hz=918e6,
        fp32_macs=128,
        fp16_macs=1024,
        int8_macs=2048,
        source="NVIDIA Jetson Orin NX Series Data Sheet: 918 MHz, 1024 CUDA cores, 102.4 GB/s. Its 100 TOPS "
        "are sparse and count two DLAs; the GPU's dense rate is computed: 8 x 918 MHz x 2 x 2048 = 30.1 INT8 "
        "TOPS, 15.0 FP16 TFLOPS. " + _ORIN_CLOCK,
    ),
    Board(
        key="agx_orin_64gb",
        name="AGX Orin 64 GB",
        power_mode="MAXN (60 W), 1.3 GHz",
        bytes_per_s=204.8e9,
        multiprocessors=16,
        clock_hz=1300e6,
        fp32_macs=128,
        fp16_macs=1024,
        int8_macs=2048,
        source="NVIDIA Jetson AGX Orin Series Technical Brief: 16 multiprocessors, 2048 CUDA cores at 1.3 "
        "GHz, 5.3 FP32 TFLOPS, 204.8 GB/s. Of the 275 sparse TOPS 170 are the GPU's, so 85 dense; FP16 "
        "computed, 42.6 TFLOPS. " + _ORIN_CLOCK,
    ),
    Board(
        key="agx_thor",
        name="AGX Thor (T5000)",
        power_mode="MAXN (130 W), 1.57 GHz",
        bytes_per_s=273e9,
        multiprocessors=20,
        clock_hz=1575e6,
        fp32_macs=128,
        fp16_macs=4096,
        int8_macs=8192,
        source="developer.nvidia.com/blog/introducing-nvidia-jetson-thor-the-ultimate-platform-for-physical-ai"
        ": 273 GB/s; 1035 TFLOPS are sparse INT8 and sparse FP8, 517 dense FP8 and sparse FP16. So 517 dense "
        "INT8 and 258 dense FP16; a multiprocessor of 20 (2560 CUDA cores) then does 8192 and 4096 "
        "multiply-accumulates a clock: 20 x 1.575 GHz x 2 x 8192 = 516.",
    ),
)
