#!/usr/bin/env bash
# Rollouts on a real vLLM server: tests/vllm.sh [MODEL], by default the embedded one. MODEL is a folder
# whose heads have a size that vLLM takes (32, 64, 80, ...). Needs `vllm` on the path, built for what
# this machine has. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

model=$(realpath "${1:-assets/base}")
port=${PORT:-8765}
url=http://127.0.0.1:$port
command -v vllm >/dev/null || { echo "no vllm on the path: docs/distributed.md says how to install it"; exit 2; }
out=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then
    kill -"${1:-TERM}" -- "-$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
  fi
}
trap 'stop; rm -rf "$out"' EXIT

# In a group of processes of its own, as vLLM starts others. On a CPU it ends (0.32) where a prompt with
# a seed is encoded in parts.
start() {
  VLLM_SERVER_DEV_MODE=1 setsid vllm serve "$model" --host 127.0.0.1 --port "$port" \
    --dtype float32 --enforce-eager --max-model-len 1024 --limit-mm-per-prompt '{"image": 1}' \
    --no-enable-chunked-prefill --max-num-batched-tokens 4096 \
    >>"$out/server.log" 2>&1 &
  server=$!
}
wait_for_server() {
  for _ in $(seq 300); do
    curl -sf "$url/health" >/dev/null && return
    kill -0 "$server" 2>/dev/null || { tail -n 40 "$out/server.log"; echo "vLLM ended"; exit 1; }
    sleep 1
  done
  echo "vLLM did not start within 300 s"; exit 1
}

packages=(-p visrl -p visrl-benches -p visrl-rollout --features visrl/remote)
cargo build --release "${packages[@]}" --example fine_tune
cargo test --release "${packages[@]}" --test remote --no-run
start
wait_for_server
curl -s "$url/version"
echo

echo "== the engine's tests, and 20 prompts greedily and sampled"
VISRL_VLLM=$url VISRL_VLLM_MODEL=$model cargo test --release "${packages[@]}" --test remote -- \
  --include-ignored --test-threads 1 --nocapture

echo "== 20 steps through the server, which is killed in the middle"
cat >"$out/run.toml" <<TOML
recipe = "no_thinking_rl"

[model]
path = "$model"

[data]
shots = 4
source = { kind = "fashion_mnist", path = "$PWD/assets/fashion-mnist" }

[fine_tune]
steps = 20
test_per_class = 5
out = "$out/run"
# A tied head on a CPU keeps its first weights (0.32): the embeddings stay as they are.
lora = { r = 8 }

[fine_tune.remote]
url = "$url"
patience = 300.0
TOML
target/release/examples/fine_tune --config "$out/run.toml" &
run=$!
until [ "$(cat "$out/run/metrics.jsonl" 2>/dev/null | wc -l)" -ge 8 ]; do
  kill -0 "$run" 2>/dev/null || { echo "the run ended early"; exit 1; }
  sleep 0.2
done
stop KILL
echo "vLLM was killed after step $(wc -l <"$out/run/metrics.jsonl")"
start
wait "$run"
python3 - "$out/run/metrics.jsonl" <<'PY'
import json, sys
steps = [json.loads(line) for line in open(sys.argv[1])]
drift = [step["loss_metrics"]["drift/largest"] for step in steps]
assert len(steps) == 20, len(steps)
print("reward", [round(step["reward"], 3) for step in steps])
print("largest difference of a log-probability between server and learner:", max(drift))
assert max(drift) < 1e-3, drift
PY
echo "all held"
