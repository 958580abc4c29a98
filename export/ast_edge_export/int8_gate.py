"""Decides whether an INT8 model may be shipped, and which convolutions must stay in FP32 for that.

The effect of each layer alone on the map of held-out good parts is measured. The worst layers stay in FP32,
none at first and then one, two, four ..., until the gate accepts the model:

* it reproduces the reference vectors within INT8's tolerance and flips no verdict on them;
* at the shipped threshold as many held-out good parts are rejected as the FP32 model rejects, within the
  95 % Clopper-Pearson interval of that rate;
* if the data has labelled defective parts, the image AUROC changes by at most 0.3 points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto
from scipy.stats import binomtest

from ast_edge.backends.proof import SCORE_TOLERANCE
from ast_edge.model.manifest import ModelSpec
from ast_edge.model.references import References
from ast_edge.progress import stage
from ast_edge.train.metrics import auroc
from ast_edge.verdict.margin import for_precision
from ast_edge.verdict.scoring import judge
from ast_edge_export.quantise import Inputs, quantisable, quantise_only, to_int8

AUROC_CHANGE = 0.003
SENSITIVITY_PARTS = 4


@dataclass(frozen=True)
class Evidence:
    """Network inputs, one batch per part: good ones to take ranges from, good ones held out, labelled ones.

    A batch is filled with copies of its part; the labelled parts may be empty.
    """

    ranges: Sequence[Inputs]
    held_out: Sequence[Inputs]
    labelled: Sequence[Inputs]
    defective: NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """The figures for the gate; scores relative, rates and AUROC as fractions, None without labels."""

    score_error: float
    flipped_verdicts: int
    false_reject_rate: float
    false_reject_rate_fp32: float
    false_reject_interval: tuple[float, float]
    auroc: float | None
    auroc_fp32: float | None

    @property
    def refusal(self) -> str | None:
        """Describe why the model is refused; None if it may be shipped."""
        tolerance = SCORE_TOLERANCE["int8"]
        if not self.score_error <= tolerance:
            return f"a reference score is off by {self.score_error:.2g} relative (allowed {tolerance:g})"
        if self.flipped_verdicts:
            return f"{self.flipped_verdicts} reference verdicts flip"
        low, high = self.false_reject_interval
        if not low <= self.false_reject_rate <= high:
            return (
                f"{self.false_reject_rate:.3f} of the held-out good parts are rejected, by the FP32 model "
                f"{self.false_reject_rate_fp32:.3f} (95 % interval {low:.3f} to {high:.3f})"
            )
        if self.auroc is None or self.auroc_fp32 is None or abs(self.auroc - self.auroc_fp32) <= AUROC_CHANGE:
            return None
        return f"the image AUROC is {self.auroc:.4f}, of the FP32 model {self.auroc_fp32:.4f}"


@dataclass(frozen=True)
class Int8Report:
    """Effect of each convolution alone on the map (mean relative change), those kept in FP32, the figures."""

    sensitivity: dict[str, float]
    in_fp32: tuple[str, ...]
    figures: Figures

    def as_json(self) -> dict[str, object]:
        """Return the content of the file beside the model."""
        return asdict(self)


@dataclass(frozen=True)
class Proof:
    """PyTorch's outputs, and the threshold of the FP32 model."""

    references: References
    spec: ModelSpec


def quantise(model: ModelProto, evidence: Evidence, proof: Proof) -> tuple[ModelProto, Int8Report]:
    """Return the INT8 model with the fewest layers in FP32 that passes the gate; at least a quarter in INT8.

    `model` is the FP32 graph. If none passes, returns the last one tried: see `Int8Report.figures.refusal`.
    """
    full = to_int8(model, evidence.ranges)
    layers = quantisable(model)
    sensitivity = _sensitivity(model, full, layers, evidence.held_out[:SENSITIVITY_PARTS])
    worst = sorted(layers, key=lambda name: -sensitivity[name])
    fp32, kept, most = _Judged.of(model, evidence), 0, 3 * len(worst) // 4
    while True:
        chosen = quantise_only(full, worst[kept:])
        figures = _figures(chosen, fp32, evidence, proof)
        if figures.refusal is None or kept >= most:
            return chosen, Int8Report(sensitivity, tuple(worst[:kept]), figures)
        kept = min(max(1, 2 * kept), most)


@dataclass(frozen=True)
class _Judged:
    """Image scores of the held-out and the labelled parts."""

    held_out: NDArray[np.float64]
    labelled: NDArray[np.float64]

    @classmethod
    def of(cls, model: ModelProto, evidence: Evidence) -> _Judged:
        run = _Session(model)
        return cls(
            *(np.array([run(part)[0] for part in parts]) for parts in (evidence.held_out, evidence.labelled))
        )


class _Session:
    """Runs an unsaved graph with ONNX Runtime: inputs of one part to (score, map)."""

    def __init__(self, model: ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, inputs: Inputs) -> tuple[float, NDArray[np.float32]]:
        score, anomaly_map = self._session.run(["score", "anomaly_map"], dict(inputs))
        return float(score[0]), anomaly_map[0]


def _sensitivity(
    model: ModelProto, full: ModelProto, layers: Sequence[str], parts: Sequence[Inputs]
) -> dict[str, float]:
    exact = _maps(model, parts)
    found = {}
    with stage("INT8 layer by layer", len(layers)) as shown:
        for name in layers:
            moved = np.abs(_maps(quantise_only(full, {name}), parts) - exact)
            found[name] = float(moved.mean() / exact.mean())
            shown.advance()
    return found


def _maps(model: ModelProto, parts: Sequence[Inputs]) -> NDArray[np.float32]:
    run = _Session(model)
    return np.stack([run(part)[1] for part in parts])


def _figures(model: ModelProto, fp32: _Judged, evidence: Evidence, proof: Proof) -> Figures:
    run, references, judged = _Session(model), proof.references, _Judged.of(model, evidence)
    copies = len(next(iter(evidence.held_out[0].values())))
    found = [run(references.subset([index] * copies).inputs)[0] for index in range(len(references))]
    rejected = int(np.sum(judged.held_out > for_precision(proof.spec, "int8").threshold.value))
    rejected_fp32 = int(np.sum(fp32.held_out > proof.spec.threshold.value))
    limit = proof.spec.reference_threshold
    parts = len(fp32.held_out)
    interval = binomtest(rejected_fp32, parts).proportion_ci(confidence_level=0.95, method="exact")
    return Figures(
        score_error=float(np.max(np.abs(np.array(found) / references.score - 1))),
        flipped_verdicts=sum(
            judge(ours, limit)[0] != judge(float(theirs), limit)[0]
            for ours, theirs in zip(found, references.score, strict=True)
        ),
        false_reject_rate=rejected / parts,
        false_reject_rate_fp32=rejected_fp32 / parts,
        false_reject_interval=(float(interval.low), float(interval.high)),
        auroc=auroc(evidence.defective, judged.labelled),
        auroc_fp32=auroc(evidence.defective, fp32.labelled),
    )
