from __future__ import annotations

import io
import json
import shutil
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from ast_edge.backends.base import Outputs
from ast_edge.backends.fake import FakeBackend
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.proof import SCORE_TOLERANCE, prove
from ast_edge.errors import ModelError
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Mode, ModelSpec
from ast_edge.model.onnx_file import read_model_file
from ast_edge.model.references import (
    References,
    earlier_reference_path,
    largest_file,
    load_references,
    reference_path,
)
from tests.tiny import tiny_inputs, tiny_spec, write_tiny_model

SPEC = tiny_spec("rgbd")


def vectors(spec: ModelSpec = SPEC, count: int = 3) -> References:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.2, 1, count).astype(np.float32)
    return References(tiny_inputs(spec, count), scores, rng.uniform(0, 1, (count, 4, 4)).astype(np.float32))


def assert_equal(left: References, right: References) -> None:
    assert left.inputs.keys() == right.inputs.keys()
    for name in left.inputs:
        np.testing.assert_array_equal(left.inputs[name], right.inputs[name], strict=True)
    np.testing.assert_array_equal(left.score, right.score, strict=True)
    np.testing.assert_array_equal(left.anomaly_map, right.anomaly_map, strict=True)


def test_round_trip() -> None:
    references = vectors()
    data = references.to_bytes()
    assert data == references.to_bytes()
    assert_equal(References.from_bytes(data, SPEC, "here"), references)
    assert sorted(load(data)) == ["anomaly_map", "depth", "foreground", "image", "score"]


def test_the_bytes_are_a_safetensors_file_as_its_readme_says() -> None:
    references = vectors(tiny_spec("depth"), 2)
    data = references.to_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["score"]["dtype"] == "F32"
    assert header["score"]["shape"] == [2]
    begin, end = header["score"]["data_offsets"]
    assert data[8 + length + begin : 8 + length + end] == references.score.tobytes()


def packed(references: References) -> bytes:
    """As versions up to 0.1 wrote them."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**references.inputs, "score": references.score}
    np.savez_compressed(buffer, **arrays, anomaly_map=references.anomaly_map)
    return buffer.getvalue()


def test_vectors_of_earlier_versions_are_read() -> None:
    assert_equal(References.from_bytes(packed(vectors()), SPEC, "here"), vectors())


def test_a_subset_keeps_the_order_asked_for() -> None:
    references = vectors()
    chosen = references.subset([2, 0])
    assert len(chosen) == 2
    np.testing.assert_array_equal(chosen.score, references.score[[2, 0]])
    np.testing.assert_array_equal(chosen.inputs["image"][1], references.inputs["image"][0])
    chosen.check(SPEC, "here")


@given(
    place=st.floats(0, 1, exclude_max=True), cut=st.booleans(), flip=st.integers(1, 255), old=st.booleans()
)
def test_damaged_bytes_are_refused_or_hold_as_many_numbers(
    place: float, cut: bool, flip: int, old: bool
) -> None:
    """A zip archive has a checksum of its own; of a safetensors file the manifest has a digest."""
    references = vectors(tiny_spec("depth"), 1)
    data = bytearray(packed(references) if old else references.to_bytes())
    position = int(place * len(data))
    if cut:
        del data[position:]
    else:
        data[position] ^= flip
    try:
        found = References.from_bytes(bytes(data), tiny_spec("depth"), "here")
    except ModelError as exc:
        assert str(exc).startswith("here: the reference vectors")  # noqa: PT017 (either outcome is right)
    else:
        assert len(found) == 1
        if old:
            assert_equal(found, references)


@given(data=st.binary(max_size=300))
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="reference vectors are damaged"):
        References.from_bytes(data, SPEC, "here")


def test_nothing_is_unpickled() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, score=np.array([print], dtype=object), anomaly_map=np.zeros(1))
    with pytest.raises(ModelError, match="damaged"):
        References.from_bytes(buffer.getvalue(), SPEC, "here")


BOMB_BYTES = 300 << 20


def bomb(method: int, *, says: int | None) -> bytes:
    """A small archive that unpacks to 300 MB, and `says` in its directory that it is as small as that."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, archive.open("score.npy", "w") as member:
        for _ in range(BOMB_BYTES >> 20):
            member.write(bytes(1 << 20))
    data = bytearray(buffer.getvalue())
    if says is not None:
        size = data.index(b"PK\1\2") + 24  # the unpacked size in the central directory
        data[size : size + 4] = says.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str)
@pytest.mark.parametrize("says", [None, 100])
def test_a_bomb_is_not_unpacked(method: int, says: int | None) -> None:
    data = bomb(method, says=says)
    assert len(data) < largest_file(SPEC)
    tracemalloc.start()
    with pytest.raises(ModelError, match="reference vectors are damaged"):
        References.from_bytes(data, SPEC, "here")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * largest_file(SPEC) < BOMB_BYTES / 8


@pytest.mark.parametrize("count", [65, 1000])
def test_more_vectors_than_any_export_writes_are_refused(count: int) -> None:
    many = vectors(tiny_spec("rgb"), count)
    with pytest.raises(ModelError, match="do not fit the model"):
        References.from_bytes(many.to_bytes(), tiny_spec("rgb"), "here")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    model = read_model_file(write_tiny_model(tmp_path))
    with reference_path(model.path).open("wb") as stream:
        stream.truncate(1 << 30)
    tracemalloc.start()
    with pytest.raises(ModelError, match=f"a file of at most {largest_file(model.manifest)} bytes"):
        load_references(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": np.zeros(3)}, r"'score' as float32 \[3\], found float64 \[3\]"),
        ({"score": np.zeros((3, 1), np.float32)}, "1 to 64 vectors"),
        ({"score": np.zeros(0, np.float32)}, "1 to 64 vectors"),
        ({"score": np.full(3, np.nan, np.float32)}, "finite numbers in 'score'"),
        ({"anomaly_map": np.zeros((3, 5, 4), np.float32)}, r"'anomaly_map' as float32 \[3, 4, 4\], found"),
        ({"anomaly_map": np.full((3, 4, 4), np.inf, np.float32)}, "finite numbers in 'anomaly_map'"),
        ({"inputs": {}}, "the tensors"),
        ({"inputs": tiny_inputs(tiny_spec("rgb"))}, "the tensors"),
        ({"inputs": tiny_inputs(SPEC, 2)}, r"'image' as uint8 \[3, 32, 32, 3\], found uint8 \[2, 32"),
    ],
)
def test_vectors_of_another_model_are_refused(change: dict[str, Array], words: str) -> None:
    with pytest.raises(ModelError, match=f"here: the reference vectors do not fit the model.*{words}"):
        replace(vectors(), **change).check(SPEC, "here")  # type: ignore[arg-type]


def test_where_the_vectors_lie() -> None:
    assert reference_path(Path("a/model.onnx")) == Path("a/model.reference.safetensors")
    assert reference_path(Path("a/model.fp16.onnx")) == Path("a/model.reference.safetensors")
    for engine in ("model.engine", "model.fp16.engine", "model.rtx.engine", "model.int8.rtx.engine"):
        assert reference_path(Path(engine)) == Path("model.reference.safetensors")
    assert reference_path(Path("cable.rtx.onnx")) == Path("cable.rtx.reference.safetensors")
    assert reference_path(Path("cable.v2.onnx")) == Path("cable.v2.reference.safetensors")
    assert earlier_reference_path(Path("a/model.fp16.onnx")) == Path("a/model.reference.npz")


def test_the_file_beside_the_model_comes_first_then_the_embedded_vectors(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path)
    beside, where = load_references(read_model_file(path))
    assert where == str(tmp_path / "model.reference.safetensors")
    alone = tmp_path / "alone" / "model.onnx"
    alone.parent.mkdir()
    shutil.copy(path, alone)
    embedded, where = load_references(read_model_file(alone))
    assert where == f"embedded in {alone}"
    assert_equal(beside, embedded)


def test_a_file_of_another_export_is_refused(tmp_path: Path) -> None:
    model = read_model_file(write_tiny_model(tmp_path))
    beside = reference_path(model.path)
    beside.write_bytes(vectors(tiny_spec()).to_bytes())
    with pytest.raises(ModelError, match="belong to another export than model"):
        load_references(model)
    beside.unlink()
    beside.mkdir()
    with pytest.raises(ModelError, match="or no file"):
        load_references(model)
    beside.rmdir()
    with pytest.raises(ModelError, match="there are no reference vectors"):
        load_references(replace(model, embedded_reference=None))
    with pytest.raises(ModelError, match=r"\(embedded\): the reference vectors are damaged"):
        load_references(replace(model, embedded_reference=b"PK"))


@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
@pytest.mark.parametrize("batch", [1, 3, -1])
def test_onnx_runtime_reproduces_its_own_answers(tmp_path: Path, mode: Mode, batch: int) -> None:
    model = read_model_file(write_tiny_model(tmp_path, mode, batch=batch))
    references, _ = load_references(model)
    with OnnxRuntimeBackend(model, threads=1) as backend:
        parity = prove(backend, references, model.manifest, SCORE_TOLERANCE["fp32"])
    assert parity.ok
    assert parity.count == 3
    assert parity.max_relative_score_error < 1e-6
    assert parity.max_absolute_map_error < 1e-6


def answering(references: References, scores: list[float], map_error: float = 0.0) -> FakeBackend:
    """An engine that gives one score after the other, and the right map but for `map_error`."""
    index = iter(range(len(scores)))

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        i = next(index)
        return Outputs(np.array([scores[i]], np.float32), references.anomaly_map[[i]] + np.float32(map_error))

    return FakeBackend(SPEC, answer)


def test_parity_reports_the_worst_vector() -> None:
    references = replace(vectors(), score=np.array([1, 2, 4], np.float32))
    parity = prove(answering(references, [1.0, 2.02, 4.0], 0.25), references, SPEC, 0.02)
    assert parity.max_relative_score_error == pytest.approx(0.01)
    assert parity.max_absolute_map_error == pytest.approx(0.25)
    assert parity.flipped_verdicts == 0
    assert parity.ok
    assert not prove(answering(references, [1.0, 2.02, 4.0]), references, SPEC, 0.001).ok


def test_a_flipped_verdict_is_never_within_the_tolerance() -> None:
    references = replace(vectors(), score=np.array([0.1001, 2, 4], np.float32))
    parity = prove(answering(references, [0.0999, 2, 4]), references, SPEC, 0.01)
    assert parity.max_relative_score_error < 0.01
    assert parity.flipped_verdicts == 1
    assert not parity.ok


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_score_that_is_not_finite_cannot_hide_behind_good_ones(place: int, wrong: float) -> None:
    references = vectors()
    scores = [float(score) for score in references.score]
    scores[place] = wrong
    parity = prove(answering(references, scores), references, SPEC, 1e9)
    assert parity.max_relative_score_error == np.inf
    assert parity.flipped_verdicts == 1
    assert not parity.ok


def test_a_map_that_is_not_finite_is_no_parity() -> None:
    references = vectors()
    backend = answering(references, [float(score) for score in references.score], np.nan)
    parity = prove(backend, references, SPEC, 1e-4)
    assert parity.max_relative_score_error == 0
    assert parity.max_absolute_map_error == np.inf
    assert not parity.ok
