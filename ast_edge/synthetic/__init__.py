"""A synthetic product: a turned steel flange on a conveyor belt, as picture, depth and mask of its defect.

It needs no download and no camera, so it serves the demo, the tests and a look at the whole chain.
"""

from __future__ import annotations

from ast_edge.synthetic.dataset import PartCounts, write_product
from ast_edge.synthetic.part import DEFECTS, SyntheticPart, render

__all__ = ["DEFECTS", "PartCounts", "SyntheticPart", "render", "write_product"]
