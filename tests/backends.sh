#!/usr/bin/env bash
# Runs the parity tests (transformers' numbers, PyTorch's GRPO step) on other backends:
#   tests/backends.sh wgpu        a GPU, or Mesa's software driver
#   tests/backends.sh tch         LibTorch; docs/backends.md says how to get it
#   tests/backends.sh tch:0       the same on an NVIDIA GPU
# LibTorch is the one in the folder LIBTORCH, or that of python3's torch.
# Builds go to a folder of their own, so that the usual one stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '2,7p' "$0"; exit 2; }

# Finds LibTorch, for the build and for the tests.
libtorch() {
  local version where='import os, torch; print(os.path.dirname(torch.__file__))'
  if [ -z "${LIBTORCH:-}" ] && ! LIBTORCH=$(python3 -c "$where"); then
    echo "no LibTorch: set LIBTORCH to its folder (docs/backends.md)" >&2
    exit 1
  fi
  version=$(cat "$LIBTORCH/build-version" 2>/dev/null ||
    sed -n "s/^__version__ = ['\"]\([^'\"]*\).*/\1/p" "$LIBTORCH/version.py" 2>/dev/null) || version=unknown
  echo "LibTorch $version in $LIBTORCH"
  case "$version" in
    2.9.* | 2.10.* | 2.11.*) ;;
    *) echo "warning: visrl was run with LibTorch 2.9 and 2.11" >&2 ;;
  esac
  # The tch crate asks for 2.9.0, by whose headers it compiles against later ones, too.
  export LIBTORCH LIBTORCH_BYPASS_VERSION_CHECK=1
  export LD_LIBRARY_PATH="$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

for device in "$@"; do
  feature="${device%%:*}"
  features="visrl-vlm/$feature,visrl-train/$feature,visrl/$feature"
  tests=(--test model --test grpo_step --test device_forms)
  if [ "$feature" = tch ]; then
    libtorch
    features="$features,visrl-rollout/tch"
    tests+=(--test ragged --test engine --test device_sampler)
    tests+=(--test operator_calls)
  fi
  CARGO_TARGET_DIR="target/backends-$feature" VISRL_DEVICE="$device" \
    cargo test --release --workspace --features "$features" "${tests[@]}" -- --nocapture
done
