from __future__ import annotations

import hashlib
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.external_data_helper import set_external_data

from ast_edge.errors import ModelError
from ast_edge.model.manifest import MANIFEST_KEY, REFERENCE_KEY
from ast_edge.model.onnx_file import network_sha256, read_model_file, write_model_file
from ast_edge.model.references import References
from ast_edge.model.wire import bytes_field
from tests.tiny import tiny_manifest, tiny_network, tiny_spec, write_tiny_model

Edit = Callable[[bytes], bytes]


@pytest.fixture
def model(tiny_rgb: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_rgb, tmp_path / "model.onnx"))


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "model.onnx"


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model_file(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def with_metadata(entries: dict[str, str]) -> Edit:
    """Replace the metadata, as a user of the onnx package would."""

    def edit(data: bytes) -> bytes:
        proto = onnx.load_model_from_string(data)
        del proto.metadata_props[:]
        onnx.helper.set_model_props(proto, entries)
        return bytes(proto.SerializeToString())

    return edit


def metadata(data: bytes) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load_model_from_string(data).metadata_props}


def test_a_whole_file_is_read(model: Path) -> None:
    found = read_model_file(model)
    assert found.path == model
    assert found.size == model.stat().st_size
    assert found.manifest.model_id == "tiny-rgb"
    assert found.embedded_reference is not None
    assert hashlib.sha256(found.embedded_reference).hexdigest() == found.manifest.reference_sha256
    assert "embedded_reference=" not in repr(found)


def test_the_hash_is_that_of_the_serialised_network_without_metadata(model: Path) -> None:
    proto = onnx.load_model(model)
    del proto.metadata_props[:]
    assert network_sha256(model) == hashlib.sha256(proto.SerializeToString()).hexdigest()
    assert network_sha256(model) == read_model_file(model).manifest.network_sha256


def test_a_file_written_again_by_onnx_is_still_ours(model: Path) -> None:
    before = read_model_file(model)
    onnx.save_model(onnx.load_model(model), model)
    assert read_model_file(model) == before


def test_foreign_metadata_before_ours_is_let_through(model: Path) -> None:
    data = model.read_bytes()
    model.write_bytes(with_metadata({"author": "me", **metadata(data)})(data))
    assert read_model_file(model).embedded_reference is not None


def test_a_model_without_embedded_references(tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    onnx.save_model(tiny_network(tiny_spec()), network)
    written = write_model_file(tmp_path / "m.onnx", network, tiny_manifest(tiny_spec(), network), None)
    assert written.embedded_reference is None
    assert read_model_file(tmp_path / "m.onnx") == written


def test_writing_what_would_be_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    onnx.save_model(tiny_network(tiny_spec()), network)
    manifest = tiny_manifest(tiny_spec(), network).model_copy(update={"network_sha256": "f" * 64})
    with pytest.raises(ModelError, match="damaged or was changed"):
        write_model_file(tmp_path / "m.onnx", network, manifest, None)
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]
    with pytest.raises(ModelError, match=r"absent\.onnx: the model file cannot be read"):
        write_model_file(tmp_path / "m.onnx", tmp_path / "absent.onnx", manifest, None)


def last_entry(data: bytes) -> int:
    """Where the manifest's field begins, which is the last of the file."""
    return data.rindex(b"\x72", 0, data.index(MANIFEST_KEY.encode()))


REFUSED: dict[str, tuple[Edit, str]] = {
    "empty": (lambda _: b"", "the file is empty"),
    "text": (lambda _: b"hello, I am a recipe\n" * 40, "not an ONNX file"),
    "one byte": (lambda _: b"\x08", "not an ONNX file"),
    "no graph": (lambda _: b"\x08\x08", "not an ONNX file (it contains no graph)"),
    "zeros": (lambda _: bytes(1000), "not an ONNX file (byte 0 starts no field)"),
    "group": (lambda data: data + b"\x0b", "unknown wire type 3"),
    "endless number": (lambda _: b"\x08" + b"\xff" * 20, "longer than 64 bits"),
    "graph as a number": (lambda _: b"\x08\x08\x38\x01", "another wire type"),
    "countless fields": (lambda data: data + b"\x08\x08" * 200_000, "top-level fields"),
    "half": (lambda data: data[: len(data) // 2], "is truncated after"),
    "last byte missing": (lambda data: data[:-1], "is truncated after"),
    "in the graph": (lambda data: data[:500], "field 7 should end at byte"),
    "plain ONNX": (with_metadata({}), "without an ast-edge manifest; make a model with `ast-edge export"),
    "foreign ONNX": (with_metadata({"author": "me"}), "without an ast-edge manifest"),
    "manifest not JSON": (with_metadata({MANIFEST_KEY: "{"}), "the manifest is not JSON"),
    "threshold edited": (
        lambda data: data.replace(b'"value": 0.1', b'"value": 9.1'),
        "the manifest was changed after it was written",
    ),
    "newer format": (
        lambda data: data.replace(b'"format_version": 3', b'"format_version": 4'),
        "format 4 is newer than format 3",
    ),
    "graph edited": (lambda data: data.replace(b"ReduceMean", b"ReduceProd"), "the network is damaged"),
    "field added": (
        lambda data: bytes_field(2, b"someone else") + data,
        "the network is damaged or was changed after export (SHA-256 expected",
    ),
    "manifest twice": (lambda data: data + data[last_entry(data) :], "must be the last entry"),
    "entry after the manifest": (
        lambda data: data + bytes_field(14, bytes_field(1, b"a") + bytes_field(2, b"b")),
        "must be the last entry",
    ),
    "reference twice": (
        lambda data: bytes_field(14, bytes_field(1, REFERENCE_KEY.encode()) + bytes_field(2, b"")) + data,
        "'ast_edge.reference' occurs twice",
    ),
    "reference not base64": (
        lambda data: with_metadata({**metadata(data), REFERENCE_KEY: "*"})(data),
        "reference vectors are damaged",
    ),
    "entry without value": (
        lambda data: bytes_field(14, bytes_field(1, b"a")) + data,
        "entry at byte 0 is damaged",
    ),
    "entry of rubbish": (lambda data: bytes_field(14, b"\x00\x01") + data, "entry at byte 0 is"),
    "entry of many fields": (lambda data: bytes_field(14, b"\x08\x08" * 9999) + data, "is damaged"),
    "manifest not UTF-8": (
        lambda data: (
            data[: last_entry(data)]
            + bytes_field(14, bytes_field(1, MANIFEST_KEY.encode()) + bytes_field(2, b"\xff"))
        ),
        "the manifest is not JSON ('utf-8'",
    ),
    "long key": (
        lambda data: bytes_field(14, bytes_field(1, b"k" * 2000) + bytes_field(2, b"")) + data,
        "too large (at most 1024 bytes, found 2000)",
    ),
    "long manifest": (
        with_metadata({MANIFEST_KEY: " " * (16 << 20 | 1)}),
        "too large (at most 16777216 bytes",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_a_sentence(model: Path, case: str) -> None:
    edit, words = REFUSED[case]
    model.write_bytes(edit(model.read_bytes()))
    assert words in refusal(model)


def test_refused_paths(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "absent.onnx")
    assert "this is a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "null\0byte.onnx")
    assert "cannot be read" in refusal(tmp_path / ("long" * 1000))
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    with pytest.raises(ModelError, match="there is no such file"):
        network_sha256(tmp_path / "absent.onnx")


def sparse(path: Path, size: int, head: bytes = b"") -> Path:
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
    return path


# The beginning of a model whose graph is 1.8 GB long.
_LONG_GRAPH = b"\x08\x08\x3a\x80\xa4\xa7\xda\x06"


@pytest.mark.parametrize(
    ("size", "head", "words"),
    [
        (int(2.1 * (1 << 30)), b"", "ends at 2 GiB; found 2.1 GiB"),
        (2_100_000_000, b"", "not an ONNX file"),
        (1_900_000_000, b"", "not an ONNX file"),
        (8 + 1_800_000_000, _LONG_GRAPH, "without an ast-edge manifest"),
        (1_700_000_000, _LONG_GRAPH, "is truncated after 1700000000 bytes"),
        (1_900_000_000, _LONG_GRAPH, "not an ONNX file (byte 1800000008 starts no field)"),
    ],
)
def test_huge_files_are_refused_at_once(tmp_path: Path, size: int, head: bytes, words: str) -> None:
    path = sparse(tmp_path / "huge.onnx", size, head)
    tracemalloc.start()
    started = time.perf_counter()
    message = refusal(path)
    elapsed_s = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words in message
    assert elapsed_s < 0.5
    assert peak < 1 << 20


def test_a_lying_length_of_the_manifest_is_not_believed(tmp_path: Path) -> None:
    value = b"\x12\x80\x94\xeb\xdc\x03"  # one billion bytes
    inner = bytes_field(1, MANIFEST_KEY.encode()) + value
    length = len(inner) + 1_000_000_000
    varint = bytes([*(length >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)), length >> 28])
    head = b"\x08\x08" + bytes_field(7, b"\x12\x01g") + b"\x72" + varint + inner
    path = sparse(tmp_path / "lie.onnx", len(head) + 1_000_000_000, head)
    assert "too large (at most 16777216 bytes, found 1000000000)" in refusal(path)


@pytest.mark.slow
def test_a_large_network_is_in_memory_once(tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    network.write_bytes(b"\x08\x08" + bytes_field(7, bytes_field(2, bytes(50_000_000))))
    manifest = tiny_manifest(tiny_spec(), network)
    target = tmp_path / "model.onnx"
    write_model_file(target, network, manifest, None)
    tracemalloc.start()
    read_model_file(target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000 + (8 << 20)


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_weights_in_another_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Engines would look for it in the working directory, and no digest covers it."""
    monkeypatch.chdir(tmp_path)
    network = tiny_network(tiny_spec())
    weights = numpy_helper.from_array(np.full((64, 64), 0.5, np.float32), "weights")
    set_external_data(weights, "weights.bin")
    weights.ClearField("raw_data")
    constant = helper.make_node("Constant", [], ["weights"], value=weights)
    if place == "initializer":
        network.graph.initializer.append(weights)
    elif place == "constant":
        network.graph.node.append(constant)
    else:
        branch = helper.make_graph(
            [constant],
            "branch",
            [],
            [helper.make_tensor_value_info("weights", onnx.TensorProto.FLOAT, [64, 64])],
        )
        network.graph.node.append(
            helper.make_node("If", ["one"], ["chosen"], then_branch=branch, else_branch=branch)
        )
    path = tmp_path / "network.onnx"
    path.write_bytes(network.SerializeToString())
    with pytest.raises(ModelError, match="has weights in another file"):
        write_model_file(tmp_path / "model.onnx", path, tiny_manifest(tiny_spec(), path), None)


def test_what_is_no_onnx_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    tracemalloc.start()
    assert "not an ONNX file" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@given(cut=st.floats(0, 1, exclude_max=True))
def test_every_prefix_is_refused(tiny_rgb: Path, scratch: Path, cut: float) -> None:
    data = tiny_rgb.read_bytes()
    scratch.write_bytes(data[: int(cut * len(data))])
    refusal(scratch)


def test_every_cut_at_the_end_of_a_field_is_refused(tiny_models: dict[str, Path], scratch: Path) -> None:
    data = tiny_models["rgbd"].read_bytes()
    reference = data.index(b"\x72", data.index(b"ast_edge.reference") - 8)
    for end in (2, reference, last_entry(data)):
        scratch.write_bytes(data[:end])
        refusal(scratch)


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_every_flipped_byte_is_refused_or_changes_nothing(
    tiny_rgb: Path, scratch: Path, place: float, flip: int
) -> None:
    data = bytearray(tiny_rgb.read_bytes())
    data[int(place * len(data))] ^= flip
    scratch.write_bytes(data)
    original = read_model_file(tiny_rgb)
    try:
        found = read_model_file(scratch)
        references = References.from_bytes(found.embedded_reference or b"", found.manifest, "flipped")
    except ModelError:
        return
    assert found.manifest == original.manifest
    assert original.embedded_reference is not None
    expected = References.from_bytes(original.embedded_reference, original.manifest, "original")
    assert (references.inputs["image"] == expected.inputs["image"]).all()
    assert (references.score == expected.score).all()
    assert (references.anomaly_map == expected.anomaly_map).all()


@given(data=st.binary(max_size=200))
def test_rubbish_is_refused(scratch: Path, data: bytes) -> None:
    scratch.write_bytes(data)
    refusal(scratch)


@given(data=st.binary(max_size=60))
def test_rubbish_in_a_metadata_entry_is_refused(scratch: Path, data: bytes) -> None:
    scratch.write_bytes(b"\x08\x08" + bytes_field(7, b"\x12\x01g") + bytes_field(14, data))
    refusal(scratch)


def test_tiny_models_of_every_batch_are_accepted(tmp_path: Path) -> None:
    for batch in (1, 4, -1):
        assert read_model_file(write_tiny_model(tmp_path, "rgbd", batch=batch)).manifest.batch == batch
