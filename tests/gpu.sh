#!/usr/bin/env bash
# Measures this machine's GPU through LibTorch: the parity tests there, GRPO steps of 1, 4 and 8
# prompts and a rollout of Qwen2-VL-2B's shape, and the main job. docs/backends.md says how to get
# LibTorch; a table is printed at the end.
#   tests/gpu.sh [DEVICE]        tch:0, or any other that --device takes
# MODEL=DIR        a checkpoint in the place of random weights, which TOKENIZER=DIR is needed for:
#                  a folder with the tokenizer files of Qwen2-VL
# SIZE=384 DTYPE=bf16 NEW=33 STEPS=150
# PROGRAMS=DIR     built examples of before; then nothing is built and no tests run
set -euo pipefail
cd "$(dirname "$0")/.."

device=${1:-tch:0} size=${SIZE:-384} dtype=${DTYPE:-bf16} new=${NEW:-33} steps=${STEPS:-150}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "${PROGRAMS:-}" ]; then
  tests/backends.sh "$device"
  feature="${device%%:*}"
  features="visrl/$feature,visrl-vlm/$feature,visrl-train/$feature"
  [ "$feature" = tch ] && features="$features,visrl-rollout/tch"
  if [ -z "${LIBTORCH:-}" ]; then
    LIBTORCH=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))')
  fi
  export LIBTORCH LIBTORCH_BYPASS_VERSION_CHECK=1
  export LD_LIBRARY_PATH="$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  target="target/backends-$feature"
  CARGO_TARGET_DIR="$target" cargo build --release --workspace --features "$features" \
    --example throughput --example random_checkpoint --example fine_tune
  PROGRAMS="$target/release/examples"
fi

model=${MODEL:-$work/model}
if [ -z "${MODEL:-}" ]; then
  "$PROGRAMS/random_checkpoint" --shape qwen2-vl-2b --tokenizer "${TOKENIZER:?a folder}" \
    --dtype "$dtype" --out "$model"
fi

# A number of a program's last line of JSON.
number() { tail -n 1 "$1" | grep -o "\"$2\":[0-9.e-]*" | cut -d: -f2; }
throughput() {
  local log=$1
  shift
  "$PROGRAMS/throughput" "$@" --model "$model" --device "$device" --dtype "$dtype" \
    --size "$size" --G 8 --threads 1 --reps 3 >"$log" || { cat "$log"; exit 1; }
}

rows="$work/rows"
for prompts in 1 4 8; do
  log="$work/train$prompts"
  throughput "$log" train --B "$prompts" --new 32
  parts=$(for part in reference forward backward optimizer; do number "$log" "${part}_ms"; done | paste -sd' ')
  printf 'GRPO step, %s prompts x 8 x 32: %.1f ms (reference, forward, backward, optimizer: %.1f %.1f %.1f %.1f)\n' \
    "$prompts" "$(number "$log" total_ms)" $parts >>"$rows"
done
throughput "$work/gen" gen --B 8 --new "$new" --engine device
awk -v all="$(number "$work/gen" total_s)" -v decode="$(number "$work/gen" decode_s)" -v new="$new" \
  'BEGIN { printf "rollout, 8 prompts x 8 x %d: %.3f s (a decode step %.2f ms)\n", new, all, 1e3 * decode / (new - 1) }' >>"$rows"

"$PROGRAMS/fine_tune" --recipe no_thinking_rl --model assets/base --data assets/fashion-mnist \
  --device "$device" --steps "$steps" --out "$work/main" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
tail -n 3 "$work/log" >>"$rows"
echo
echo "$device, $dtype, images of $size pixels"
cat "$rows"
