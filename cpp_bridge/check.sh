#!/usr/bin/env bash
# The whole proof of cpp_bridge, as CI runs it: warnings as errors, ctest, the sanitizers, valgrind, a minute of
# fuzzing, and the cross-compilation for aarch64. Steps whose tool is not installed say so and are left out.
#
#   ./check.sh [STEP...]        build under $AST_EDGE_CHECK_BUILD, by default ../build/cpp
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${AST_EDGE_CHECK_BUILD:-$here/../build/cpp}
fuzz_seconds=${AST_EDGE_FUZZ_SECONDS:-60}
mkdir -p "$build"
# Without it TBB loads a library in a way that the sanitizers refuse.
export TBB_ENABLE_SANITIZERS=1

say() { printf '\n=== %s\n' "$*"; }
has() { command -v "$1" >/dev/null || { echo "left out: $1 is not installed"; return 1; }; }
# The newest of the names that are there: Debian calls it clang-14, say.
newest() { compgen -c "$1" | grep -E "^$1(-[0-9]+)?$" | sort -V | tail -n 1; }

make_in() {  # FOLDER, CMake's arguments
  local folder=$build/$1
  shift
  cmake -S "$here" -B "$folder" -DAST_EDGE_WERROR=ON "$@" >"$folder.log" 2>&1 || { tail -n 20 "$folder.log"; return 1; }
  cmake --build "$folder" -j"$(nproc)" >>"$folder.log" 2>&1 || { grep -E -A5 'error|warning' "$folder.log"; return 1; }
}

tests_in() { (cd "$build/$1" && ctest --output-on-failure "${@:2}"); }

step_release() { make_in release && tests_in release; }

step_address() {
  make_in address -DCMAKE_BUILD_TYPE=Debug -DAST_EDGE_SANITIZE=address,undefined -DAST_EDGE_BUILD_PROGRAMS=OFF
  LSAN_OPTIONS=suppressions=$here/tests/lsan.supp tests_in address
}

step_thread() {
  make_in thread -DCMAKE_BUILD_TYPE=Debug -DAST_EDGE_SANITIZE=thread -DAST_EDGE_BUILD_PROGRAMS=OFF
  TSAN_OPTIONS=suppressions=$here/tests/tsan.supp:halt_on_error=1:report_mutex_bugs=0 tests_in thread
}

step_valgrind() {
  has valgrind || return 0
  make_in release
  # Short blocks: the code that OpenVINO makes at run time has longer ones than valgrind has memory for.
  local watch=(valgrind --quiet --error-exitcode=9 --leak-check=full --vex-guest-max-insns=16
    --suppressions="$here/tests/valgrind.supp")
  "${watch[@]}" "$build/release/tests/ast_edge_test_model" "a thousand inspections"
  "${watch[@]}" "$build/release/tests/ast_edge_test_inner"
}

step_fuzz() {
  local compiler
  compiler=$(newest clang)
  has "${compiler:-clang}" || return 0
  make_in fuzz -DCMAKE_C_COMPILER="$compiler" -DCMAKE_CXX_COMPILER="${compiler/clang/clang++}" \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DAST_EDGE_WITHOUT_ENGINE=ON -DAST_EDGE_BUILD_PROGRAMS=OFF \
    -DAST_EDGE_BUILD_FUZZERS=ON -DAST_EDGE_BUILD_TESTS=OFF \
    -DAST_EDGE_SANITIZE=fuzzer-no-link,address,undefined
  python3 "$here/fuzz/seeds.py" "$build/seeds"
  mkdir -p "$build/corpus"
  (cd "$build" && fuzz/fuzz/ast_edge_fuzz_files -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=2048 \
    -max_len=40000 -verbosity=0 -print_funcs=0 -print_final_stats=1 corpus seeds)
}

# Compiles the TensorRT half against the headers below every folder of AST_EDGE_TENSORRT_ROOTS (separated by colons);
# AST_EDGE_CUDA_INCLUDES names CUDA's folders (cuda.h, crt/), separated by semicolons.
step_tensorrt() {
  [[ -n ${AST_EDGE_TENSORRT_ROOTS:-} ]] || { echo "left out: AST_EDGE_TENSORRT_ROOTS names no headers"; return 0; }
  local root number=0
  for root in ${AST_EDGE_TENSORRT_ROOTS//:/ }; do
    number=$((number + 1))
    local folder=$build/tensorrt$number
    rm -rf "$folder"
    cmake -S "$here" -B "$folder" -DAST_EDGE_WERROR=ON -DTensorRT_ROOT="$root" -DTensorRT_COMPILE_ONLY=ON \
      -DCMAKE_INCLUDE_PATH="${AST_EDGE_CUDA_INCLUDES:-}" -DCUDA_EXTRA_INCLUDE_DIRS="${AST_EDGE_CUDA_INCLUDES:-}" \
      -DAST_EDGE_BUILD_PROGRAMS=OFF | grep 'ast_edge: OpenVINO'
    cmake --build "$folder" -j"$(nproc)" --target ast_edge_objects ast_edge_test_gpu >"$folder.log" 2>&1 ||
      { grep -E -A5 'error|warning' "$folder.log"; return 1; }
  done
}

step_aarch64() {
  has aarch64-linux-gnu-g++ || return 0
  make_in aarch64 -DCMAKE_TOOLCHAIN_FILE="$here/cmake/aarch64.cmake" -DAST_EDGE_WITHOUT_ENGINE=ON \
    -DAST_EDGE_BUILD_TESTS=OFF -DAST_EDGE_BUILD_PROGRAMS=OFF
  file -L "$build/aarch64/libast_edge.so" | grep -o 'ELF.*aarch64'
}

for step in ${*:-release address thread valgrind fuzz aarch64 tensorrt}; do
  started=$SECONDS
  say "$step"
  "step_$step"
  echo "$step: $((SECONDS - started)) s"
done
