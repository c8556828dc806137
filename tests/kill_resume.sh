#!/usr/bin/env bash
# Kills a run at random moments with SIGKILL, resumes each, and compares what comes out with an
# uninterrupted run: metrics (times aside), samples and every byte of the weights.
#
# tests/kill_resume.sh [TRIALS] [FLAGS of the example...]
set -euo pipefail
cd "$(dirname "$0")/.."

trials=${1:-20}
shift || true
flags=(--steps 24 --test-per-class 4 --generations 8 --evaluate-every 8 --checkpoint-every 3 "$@")

cargo build --release --workspace --examples --quiet
program=target/release/examples/no_thinking_rl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

now() { date +%s%3N; }
# What must be equal: lines without their times, and weights.
digest() {
  {
    sed 's/"seconds":{[^}]*}//' "$1/metrics.jsonl"
    cat "$1/samples.jsonl" "$1/model/model.safetensors" "$1/best/model.safetensors"
    sed -E 's/"(evaluation_)?seconds": [0-9.e-]+//; s/"(peak|held)": [0-9]+//' "$1/summary.json"
  } | sha256sum | cut -d' ' -f1
}

begin=$(now)
"$program" "${flags[@]}" --out "$work/whole" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
length=$(($(now) - begin))
want=$(digest "$work/whole")
echo "uninterrupted: $length ms, $want"

good=0
killed=0
for trial in $(seq "$trials"); do
  out="$work/trial-$trial"
  wait_ms=$(((RANDOM * 32768 + RANDOM) % length))
  "$program" "${flags[@]}" --out "$out" >"$work/log" 2>&1 &
  victim=$!
  sleep "$(printf '%d.%03d' $((wait_ms / 1000)) $((wait_ms % 1000)))"
  if kill -KILL "$victim" 2>/dev/null; then killed=$((killed + 1)); fi
  wait "$victim" 2>/dev/null || true
  at=$(ls "$out/checkpoints" 2>/dev/null | tr '\n' ' ' || true)
  "$program" --resume "${flags[@]}" --out "$out" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  if [ "$(digest "$out")" = "$want" ]; then
    good=$((good + 1))
    result=identical
  else
    result=DIFFERENT
  fi
  echo "trial $trial: killed after $wait_ms ms with [ ${at}] on disk; resumed: $result"
  rm -rf "$out"
done
echo "$good of $trials identical, $killed of them killed before their end"
[ "$good" = "$trials" ]
