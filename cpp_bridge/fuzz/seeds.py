"""Writes seeds for ast_edge_fuzz_files: the models of the tests, and what is inside them.

python3 fuzz/seeds.py FOLDER
"""

import json
import sys
from pathlib import Path

SEEDS = Path(sys.argv[1])
HASH = "0" * 64


def write(kind: str, name: str, content: bytes) -> None:
    """One seed; `kind` is what fuzz_files.cpp takes it for."""
    (SEEDS / f"{kind}_{name}").write_bytes(kind.encode() + content)


SEEDS.mkdir(parents=True, exist_ok=True)
for model in sorted((Path(__file__).parent.parent / "tests" / "models").glob("*.onnx")):
    data = model.read_bytes()
    manifest = data[data.index(b"{", data.rindex(b"ast_edge.manifest")) :]
    sidecar = {
        "format_version": 1,
        "source": "model.onnx",
        "manifest": json.loads(manifest),
        "plan": {"bytes": 1, "sha256": HASH},
        "kernels": {"bytes": 1, "sha256": HASH, "source_sha256": HASH, "architecture": "sm_87"},
        "built_for": {
            "gpu": "g",
            "compute_capability": "8.7",
            "driver": "12.2",
            "tensorrt": "10.3.0",
            "integrated": True,
        },
        "build": {"precision": "fp16", "batch": {"least": 1, "usual": 1, "most": 1}, "workspace_mib": 64},
        "proven": None,
        "built": "t",
        "ast_edge": "0",
    }
    write("m", model.stem, data)
    write("o", model.stem, data)
    write("j", model.stem, manifest)
    write("s", model.stem, manifest)
    write("e", model.stem, json.dumps(sidecar).encode())
    write("f", model.stem, json.dumps(sidecar).encode())
