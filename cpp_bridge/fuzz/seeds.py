"""Writes seeds for ast_edge_fuzz_files: the models of the tests, and what is inside them.

python3 fuzz/seeds.py FOLDER
"""

import base64
import json
import sys
from pathlib import Path

SEEDS = Path(sys.argv[1])
HASH = "0" * 64


def write(kind: str, name: str, content: bytes) -> None:
    """One seed; `kind` is what fuzz_files.cpp takes it for."""
    (SEEDS / f"{kind}_{name}").write_bytes(kind.encode() + content)


def metadata(data: bytes, key: bytes) -> bytes:
    """The value of a metadata entry: protobuf field 2, whose length is a varint, behind field 1, the key."""
    position = data.rindex(key) + len(key)
    length, shift = 0, 0
    for byte in data[position + 1 :]:
        position += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return data[position + 1 : position + 1 + length]


SEEDS.mkdir(parents=True, exist_ok=True)
ROOT = Path(__file__).parent.parent
MODELS = [*(ROOT / "tests" / "models").glob("*.onnx"), *(ROOT.parent / "tests/data/format_2").glob("*.onnx")]
for number, model in enumerate(sorted(MODELS)):
    name = f"{model.stem}{number}"
    data = model.read_bytes()
    manifest = metadata(data, b"ast_edge.manifest")
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
    reference = base64.b64decode(metadata(data, b"ast_edge.reference"))
    write("m", name, data)
    write("o", name, data)
    write("j", name, manifest)
    write("s", name, manifest)
    for version in (1, 2):
        write("e", f"{name}_{version}", json.dumps({**sidecar, "format_version": version}).encode())
        write("f", f"{name}_{version}", json.dumps({**sidecar, "format_version": version}).encode())
    rtx = {"tensorrt_rtx": "1.7.1", "compute_capabilities": ["8.6", "8.9"], "proof": "pending"}
    write("f", f"{name}_rtx", json.dumps({**sidecar, "built_for": rtx, "kernels": None}).encode())
    write("z" if reference[:2] == b"PK" else "t", name, reference)
