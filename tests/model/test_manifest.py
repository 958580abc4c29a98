from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ast_edge.errors import ModelError
from ast_edge.model.manifest import FORMAT_VERSION, Crop, Manifest, Mode, ModelSpec
from ast_edge.model.roi import Roi
from tests.tiny import tiny_spec

Content = dict[str, Any]
Edit = Callable[[Content], object]


def manifest(mode: Mode = "rgbd", batch: int = 1) -> Manifest:
    spec = tiny_spec(mode)
    return Manifest(
        **spec.model_dump(),
        model_id="cable-gland",
        precision="fp32",
        inputs=spec.input_specs(batch),
        outputs=spec.output_specs(batch),
        network_sha256="a" * 64,
        reference_sha256="b" * 64,
        created="2025-01-01T00:00:00Z",
        versions={"onnx": "1.16"},
    )


def sealed(content: Content) -> str:
    """The JSON text with the digest that belongs to it, as an exporter with other ideas would write it."""
    content.pop("digest", None)
    body = json.dumps(content)[:-1]
    return f'{body},"digest":"{hashlib.sha256(body.encode()).hexdigest()}"}}'


def edited(edit: Edit) -> Content:
    content: Content = json.loads(manifest().to_json())
    edit(content)
    return content


def refusal(text: str) -> str:
    with pytest.raises(ModelError) as caught:
        Manifest.from_json(text.encode("utf-8", "surrogatepass"), "m.onnx")
    message = str(caught.value)
    assert message.startswith("m.onnx: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
@pytest.mark.parametrize("batch", [1, 8, -1])
def test_round_trip(mode: Mode, batch: int) -> None:
    written = manifest(mode, batch)
    assert Manifest.from_json(written.to_json().encode(), "here") == written
    assert written.batch == batch


def masked(**changes: object) -> Content:
    """The content of a manifest with a mask of the right half, and changes of it."""
    pixels = np.zeros((32, 32), np.bool_)
    pixels[:, 16:] = True
    content: Content = json.loads(manifest("rgb").to_json())
    content["preprocessing"]["roi"] = {**Roi.of(pixels, (1, 2, 255)).model_dump(mode="json"), **changes}
    return content


def test_a_mask_is_kept_bit_by_bit() -> None:
    found = Manifest.from_json(sealed(masked()).encode(), "m.onnx")
    again = Manifest.from_json(found.to_json().encode(), "m.onnx")
    assert again == found
    roi = again.preprocessing.roi
    assert roi is not None
    assert roi.fill == (1, 2, 255)
    np.testing.assert_array_equal(roi.pixels(32), np.arange(32)[None] * np.ones((32, 1)) >= 16)
    np.testing.assert_array_equal(roi.places(32, 4), np.arange(4)[None] * np.ones((4, 1)) >= 2)
    assert again.preprocessing.places == 8


@given(pixels=st.lists(st.booleans(), min_size=49, max_size=49).filter(any))
def test_a_place_counts_if_any_of_its_pixels_is_looked_at(pixels: list[bool]) -> None:
    mask = np.array(pixels).reshape(7, 7)
    np.testing.assert_array_equal(Roi.of(mask, (0, 0, 0)).pixels(7), mask)
    twice = np.kron(mask, np.array([[False, True], [False, False]]))
    np.testing.assert_array_equal(Roi.of(twice, (0, 0, 0)).places(14, 7), mask)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inside": "A" * 171 + "="}, "preprocessing': marks no pixel to look at"),
        ({"inside": "//8="}, "preprocessing': is not the mask of a picture of 32x32 pixels"),
        ({"inside": "/"}, "is not base64"),
        ({"inside": "!"}, "roi.inside': must look like"),
        ({"inside": ""}, "roi.inside': must look like"),
        ({"fill": [1, 2]}, "roi.fill.2': is missing"),
        ({"fill": [1, 2, 256]}, "roi.fill.2': must be at most 255"),
        ({"more": 1}, "roi.more': there is no such key"),
    ],
)
def test_a_mask_of_another_picture_is_refused(changes: Content, message: str) -> None:
    assert message in refusal(sealed(masked(**changes)))


def test_a_mask_needs_mode_rgb_and_a_map_that_divides_the_picture() -> None:
    content = masked()
    content["preprocessing"]["map_size"] = 5
    assert "a map of 5 places does not divide a picture of 32 pixels" in refusal(sealed(content))
    with_depth = edited(lambda c: c["preprocessing"].update(roi=masked()["preprocessing"]["roi"]))
    assert "roi belongs to mode rgb, and only to it" in refusal(sealed(with_depth))


def test_no_more_values_are_taken_than_are_looked_at() -> None:
    content = masked()
    content["aggregation"] = "top9"
    assert "aggregation top9: the map has only 8 values" in refusal(sealed(content))


def test_the_seal_is_the_last_member_and_covers_the_bytes_before_it() -> None:
    text = manifest().to_json()
    body, _, last = text.rpartition(", ")
    assert last == f'"digest": "{hashlib.sha256(body.encode()).hexdigest()}"}}'
    assert json.loads(text)["digest"] == json.loads("{" + last)["digest"]


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_byte_of_a_manifest_changes_unseen(place: float, flip: int) -> None:
    data = bytearray(manifest().to_json().encode())
    data[int(place * len(data))] ^= flip
    with pytest.raises(ModelError):
        Manifest.from_json(bytes(data), "m.onnx")


def test_the_seal_belongs_to_the_bytes_and_not_to_what_they_mean() -> None:
    content = json.loads(manifest().to_json())
    content["smoothing"] = 0.1 + 0.2
    text = sealed(content)
    assert "0.30000000000000004" in text
    longer = text.replace("0.30000000000000004", "0.300000000000000040")
    assert json.loads(longer) == json.loads(text)
    assert "the manifest was changed" in refusal(longer)
    assert Manifest.from_json(text.encode(), "here").smoothing == 0.1 + 0.2


TAMPERED: dict[str, Edit] = {
    "threshold": lambda c: c["threshold"].update(value=9.9),
    "pixel threshold": lambda c: c["threshold"].update(pixel_value=9.9),
    "crop": lambda c: c["preprocessing"].update(crop={"x": 0, "y": 0, "width": 8, "height": 8}),
    "aggregation": lambda c: c.update(aggregation="mean"),
    "network": lambda c: c.update(network_sha256="f" * 64),
    "name": lambda c: c.update(model_id="other"),
    "added key": lambda c: c.update(extra=1),
    "key taken away": lambda c: c.pop("created"),
    "no digest": lambda c: c.pop("digest"),
    "digest of another type": lambda c: c.update(digest=None),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_change_without_a_new_seal_is_seen(case: str) -> None:
    assert "the manifest was changed after it was written" in refusal(json.dumps(edited(TAMPERED[case])))


SEALED: dict[str, tuple[Edit, str]] = {
    "unknown key": (lambda c: c.update(gamma=2.2), "manifest key 'gamma': there is no such key"),
    "unknown key inside": (lambda c: c["threshold"].update(limit=1), "manifest key 'threshold.limit'"),
    "negative margin": (lambda c: c["threshold"].update(margin=-0.1), "manifest key 'threshold.margin'"),
    "missing key": (lambda c: c.pop("aggregation"), "manifest key 'aggregation': is missing"),
    "missing key inside": (lambda c: c["threshold"].pop("value"), "manifest key 'threshold.value'"),
    "unknown mode": (lambda c: c.update(mode="thermal"), "manifest key 'mode'"),
    "another colour order": (lambda c: c["preprocessing"].update(colour="bgr"), "'preprocessing.colour'"),
    "another filter": (lambda c: c["preprocessing"].update(resize="nearest"), "'preprocessing.resize'"),
    "NaN threshold": (lambda c: c["threshold"].update(value=float("nan")), "'threshold.value'"),
    "infinite threshold": (lambda c: c["threshold"].update(value=float("inf")), "'threshold.value'"),
    "rate above one": (lambda c: c["threshold"].update(confidence=1.1), "'threshold.confidence'"),
    "no parts": (lambda c: c["threshold"].update(good_parts=0), "'threshold.good_parts'"),
    "negative crop": (
        lambda c: c["preprocessing"].update(crop={"x": -1, "y": 0, "width": 1, "height": 1}),
        "'preprocessing.crop.x'",
    ),
    "size zero": (lambda c: c["preprocessing"].update(image_size=0), "'preprocessing.image_size'"),
    "short digest": (lambda c: c.update(network_sha256="ab"), "'network_sha256'"),
    "upper-case digest": (lambda c: c.update(network_sha256="A" * 64), "'network_sha256'"),
    "depth settings in mode rgb": (lambda c: c.update(mode="rgb"), "manifest"),
    "no depth settings": (lambda c: c["preprocessing"].update(depth=None), "preprocessing.depth belongs to"),
    "inputs of another mode": (lambda c: c["inputs"].pop(), "inputs and outputs do not belong to this mode"),
    "no inputs": (lambda c: c.update(inputs=[]), "the batch dimension must be"),
    "batch zero": (lambda c: c["inputs"][0].update(shape=[0, 32, 32, 3]), "the batch dimension must be"),
    "scalar input": (lambda c: c["inputs"][0].update(shape=[]), "the batch dimension must be"),
    "another map size": (
        lambda c: c["outputs"][1].update(shape=[1, 5, 5]),
        "inputs and outputs do not belong",
    ),
    "output dtype": (lambda c: c["outputs"][0].update(dtype="uint8"), "inputs and outputs do not belong"),
}


@pytest.mark.parametrize("case", SEALED)
def test_what_this_version_does_not_understand_is_refused_even_when_sealed(case: str) -> None:
    edit, words = SEALED[case]
    assert words in refusal(sealed(edited(edit)))


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 2**40])
def test_a_newer_format_is_refused_before_its_seal_is_checked(version: int) -> None:
    text = json.dumps({"format_version": version, "something": "else"})
    assert "upgrade ast-edge on this machine" in refusal(text)


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None, [1]])
def test_a_format_version_that_is_none_is_refused(version: object) -> None:
    assert "has no format_version" in refusal(sealed(edited(lambda c: c.update(format_version=version))))


@pytest.mark.parametrize("text", ["", "{", "nonsense", "'a'", "{]", '{"a": 1', "1" * 5000, "[" * 100_000])
def test_what_is_not_json_is_refused(text: str) -> None:
    assert "the manifest is not JSON" in refusal(text)


@pytest.mark.parametrize("text", ["null", "[]", "1", '"text"', "NaN"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    assert "the manifest is not a JSON object" in refusal(text)


@pytest.mark.parametrize("depth", [50, 200, 400, 900, 980])
def test_deep_nesting_is_refused(depth: int) -> None:
    nested = '{"format_version": 1, "a": ' + "[" * depth + "]" * depth + "}"
    refusal(nested)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted(json.loads(manifest().to_json()))


@given(key=st.sampled_from(KEYS), value=json_values)
def test_any_value_in_any_place_is_refused_or_means_the_same(key: str, value: object) -> None:
    content = edited(lambda c: c.update({key: value}))
    try:
        found = Manifest.from_json(sealed(content).encode("utf-8", "surrogatepass"), "m.onnx")
    except ModelError:
        return
    reported = ("model_id", "preset", "backbone", "smoothing", "created", "versions", "digest")
    assert key in reported or (getattr(found, key) == getattr(manifest(), key))


@given(text=st.text(max_size=50))
def test_any_text_is_refused(text: str) -> None:
    refusal(text)


def test_a_manifest_cannot_be_changed_in_memory() -> None:
    spec = tiny_spec()
    with pytest.raises(ValidationError, match="frozen"):
        spec.threshold.value = 9.0


def test_shapes_follow_the_mode() -> None:
    def shapes(spec: ModelSpec) -> list[tuple[str, tuple[int, ...]]]:
        return [(tensor.name, tensor.shape) for tensor in (*spec.input_specs(2), *spec.output_specs(2))]

    outputs = [("score", (2,)), ("anomaly_map", (2, 4, 4))]
    depth = [("depth", (2, 1, 32, 32)), ("foreground", (2, 1, 4, 4))]
    assert shapes(tiny_spec("rgb")) == [("image", (2, 32, 32, 3)), *outputs]
    assert shapes(tiny_spec("depth")) == [*depth, *outputs]
    assert shapes(tiny_spec("rgbd")) == [("image", (2, 32, 32, 3)), *depth, *outputs]
    with pytest.raises(ValidationError):
        Crop(x=0, y=0, width=0, height=1)
