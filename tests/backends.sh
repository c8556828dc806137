#!/usr/bin/env bash
# Runs the parity tests (transformers' numbers, PyTorch's GRPO step) on other backends:
#   tests/backends.sh wgpu        a GPU, or Mesa's software driver
#   tests/backends.sh tch         LibTorch; docs/backends.md says how to get it
#   tests/backends.sh tch:0       the same on an NVIDIA GPU
# Builds go to a folder of their own, so that the usual one stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '2,6p' "$0"; exit 2; }
for device in "$@"; do
  feature="${device%%:*}"
  features="visrl-vlm/$feature,visrl-train/$feature" tests=(--test model --test grpo_step)
  if [ "$feature" = tch ]; then
    features="$features,visrl-rollout/tch,visrl/tch"
    tests+=(--test engine --test device_sampler --test operator_calls)
  fi
  CARGO_TARGET_DIR="target/backends-$feature" VISRL_DEVICE="$device" \
    cargo test --release --workspace --features "$features" "${tests[@]}" -- --nocapture
done
