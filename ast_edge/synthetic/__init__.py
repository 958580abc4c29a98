"""A synthetic product: a turned steel flange on a conveyor belt, with picture, depth and defect mask.

It needs no download and no camera, for the demo, for tests and for trying the whole workflow.
"""

from __future__ import annotations

from ast_edge.synthetic.dataset import PartCounts, write_product
from ast_edge.synthetic.part import DEFECTS, SyntheticPart, render

__all__ = ["DEFECTS", "PartCounts", "SyntheticPart", "render", "write_product"]
