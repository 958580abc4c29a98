# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # First model
#
# Generates a product, trains on its good parts, exports the model and looks at anomaly maps. The network here is small and
# has a random backbone, so that this notebook runs in a minute; its figures show that the steps work, not how good the
# method is.

# %%
import os
import tempfile
from pathlib import Path

from ast_edge import Inspector
from ast_edge.cli import main
from ast_edge.frames.reading import read_image
from ast_edge.synthetic import PartCounts, write_product

folder = Path(os.environ.get("AST_EDGE_NOTEBOOK", tempfile.mkdtemp()))

# %% [markdown]
# ## A product
#
# In the layout of MVTec 3D-AD: `train/good`, `validation/good`, and `test/` with one folder for each kind of defect.

# %%
counts = PartCounts(train=24, validation=10, test_good=6, test_per_defect=3)
product = folder / "product"
write_product(product, counts, seed=0, size=64)
sorted(path.relative_to(product).as_posix() for path in product.glob("*/*"))

# %% [markdown]
# ## Train and export
#
# `main` is the command line as a function: it returns the exit code.

# %%
small = [
    "--preset",
    "nano",
    "--weights",
    "seeded",
    "--backbone",
    "resnet18:2",
    "--image-size",
    "64",
    "--epochs",
    "4",
]
assert main(["train", str(product), "-o", str(folder / "run"), *small]) == 0
assert main(["export", str(folder / "run"), "-o", str(folder / "model.onnx")]) == 0

# %% [markdown]
# ## Look at the maps
#
# The score is the maximum of the anomaly map in this preset; a part is rejected when it is above the threshold.

# %%
with Inspector.open(folder / "model.onnx") as inspector:
    print(f"threshold {inspector.spec.threshold.value:.3g}")
    for path in sorted(product.glob("test/*/rgb/000.png")):
        inspection = inspector.inspect(read_image(path), colour="rgb")
        row, column = divmod(int(inspection.anomaly_map.argmax()), inspection.anomaly_map.shape[1])
        kind = path.parent.parent.name
        print(
            f"{kind:14} {inspection.verdict:7} {inspection.score:8.3g}  largest at row {row}, column {column}"
        )
