"""The printed tags are those that output and trigger of the example use."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

from ast_edge.line.examples import read_example
from ast_edge.line.outputs.block import FIELDS, JUDGED
from ast_edge.line.outputs.ethernet_ip import element

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def tags() -> dict[str, dict[str, str]]:
    root = ElementTree.fromstring(read_example("ethernet-ip-tags"))  # noqa: S314 (our own text)
    assert root.attrib["TargetType"] == "Rung"
    return {tag.attrib["Name"]: tag.attrib for tag in root.iter("Tag")}


def test_every_field_has_its_element_and_its_alias() -> None:
    found = tags()
    assert found["AstEdge"]["DataType"] == "DINT"
    assert found["AstEdge"]["Dimensions"] == str(len(FIELDS)) == "15"
    for field in FIELDS:
        alias = found[f"AstEdge_{field.name.capitalize()}"]
        assert alias["TagType"] == "Alias"
        assert alias["AliasFor"] == element("AstEdge", field)
    assert {tag["ExternalAccess"] for tag in found.values()} == {"Read/Write"}
    assert read_example("ethernet-ip-tags").isascii()


def test_the_example_uses_the_tags() -> None:
    found = tags()
    example = tomllib.loads(read_example("ethernet-ip"))
    trigger, output = example["trigger"], example["output"][0]
    for name, kind in ((trigger["counter_tag"], "DINT"), (trigger["encoder_tag"], "DINT")):
        assert found[name]["DataType"] == kind
    assert found[output["reject_tag"]]["DataType"] == "BOOL"
    assert trigger["judged_tag"] == element(output["tag"], JUDGED)
