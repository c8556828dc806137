#!/usr/bin/env bash
# Runs the parity tests (transformers' numbers, PyTorch's GRPO step) on other backends:
#   tests/backends.sh wgpu        a GPU, or Mesa's software driver
#   tests/backends.sh tch         LibTorch 2.9; docs/backends.md says how to get it
# Builds go to a folder of their own, so that the usual one stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '2,5p' "$0"; exit 2; }
for device in "$@"; do
  CARGO_TARGET_DIR="target/backends-$device" VISRL_DEVICE="$device" \
    cargo test --release --workspace --features "visrl-vlm/$device,visrl-train/$device" \
    --test model --test grpo_step -- --nocapture
done
