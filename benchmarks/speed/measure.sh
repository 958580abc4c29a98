#!/usr/bin/env bash
# The stages, settings and startup of the README, on this machine: the folder MODELS holds nano_rgb.onnx, nano_rgbd.onnx and
# balanced_rgb.onnx, and nano_rgb.int8.onnx and balanced_rgb.int8.onnx (`ast-edge export --precision fp32,int8`). Nothing else
# shall run meanwhile. Takes about ten minutes.
#   benchmarks/speed/measure.sh MODELS [PYTHON]
set -euo pipefail
models=$(realpath "${1:?usage: benchmarks/speed/measure.sh MODELS [PYTHON]}")
python=$(realpath -s "${2:-.venv/bin/python}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
results=benchmarks/results
mkdir -p "$results/latency"
stopwatch() { # FILE BACKEND NAME
  "$python" -m ast_edge benchmark "$1" --backend "$2" --frame 400x400 --threads 2 --iterations 2000 --duration 40 \
    --json "$results/latency/$3_$2.json"
}
for name in nano_rgb nano_rgb.int8 nano_rgbd balanced_rgb balanced_rgb.int8; do
  for backend in onnxruntime openvino; do stopwatch "$models/$name.onnx" "$backend" "${name/./_}"; done
done
"$python" -m benchmarks.speed.settings "nano rgb=$models/nano_rgb.onnx" "balanced rgb=$models/balanced_rgb.onnx" \
  -o "$results/settings.json"
"$python" -m benchmarks.speed.startup --model "nano=$models/nano_rgb.onnx" "balanced=$models/balanced_rgb.onnx" \
  -o "$results/startup.json"
"$python" -m benchmarks.tables
