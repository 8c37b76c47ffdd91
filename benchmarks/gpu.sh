#!/usr/bin/env bash
# Everything that is measured at full size on one NVIDIA GPU, about a quarter of an hour on an H200
# besides the last step:
#   benchmarks/gpu.sh RESULTS [PYTHON]
# leaves latency profiles (RESULTS/CARD-*.parquet), figures (*.json), verdicts and a log of each step.
# What is timed comes first, and nothing else runs then; a step that fails is named, and the others
# go on.
set -u
cd "$(dirname "$0")/.."
results=$1
python=${2:-python3}
mkdir -p "$results"
card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1 | tr ' ' '\n' |
  grep -iE '^[a-z]+[0-9]+' | head -n 1 | tr '[:upper:]' '[:lower:]')
full=strategy.weights=random:1

step() { # NAME COMMAND...
  local name=$1 began=$SECONDS
  shift
  if "$@" >"$results/$name.log" 2>&1; then echo "== $name: $((SECONDS - began)) s"
  else echo "== $name: FAILED after $((SECONDS - began)) s"; fi
  tail -n "${LINES_SHOWN:-12}" "$results/$name.log"
}

profile() { # NAME STRATEGY SIZES BATCHES
  step "$card-$1" "$python" -m backtest profile "$2" --device cuda --unverified --sizes "$3" \
    --batches "$4" --set $full --output "$results/$card-$1.parquet"
}

compile() { # PRECISION
  "$python" -m backtest profile "fused:precision=$1" --device cuda --unverified --sizes 1 \
    --batches 1 --set $full >"$results/compile-$1.log" 2>&1
}

# From a checkpoint on disk to all graphs; on a new machine the first finds no compiled kernels.
# The other precisions compile meanwhile.
compile fp32 & compile tf32 &
step cold-start "$python" benchmarks/fused.py strategies fp16-start "$results/cold-start.json"
wait
step warm-start "$python" benchmarks/fused.py strategies fp16-start "$results/warm-start.json"

all=1,8,20,39,128
profile fused-fp16 fused:precision=fp16 $all 200
profile fused-fp32 fused:precision=fp32 $all 150
profile fused-tf32 fused:precision=tf32 $all 150
LINES_SHOWN=0 step history-fp16 "$python" benchmarks/fused.py history fp16 "$results/history-fp16.json"
grep -h events/s "$results/history-fp16.log"
LINES_SHOWN=0 step history-fp32 "$python" benchmarks/fused.py history fp32 "$results/history-fp32.json"
grep -h events/s "$results/history-fp32.log"
step "$card-lstm" "$python" -m backtest profile lstm --plugin benchmarks/lstm.py --device cuda \
  --unverified --sizes 1,2,4,8,16,32 --batches 2000 --output "$results/$card-lstm.parquet"
step sequences "$python" -m benchmarks.sequences --device cuda --events 100000
profile stateless stateless $all 20
profile pruned pruned:depth=6 $all 20
profile last-write last-write $all 20
profile batched batched $all 20
profile eager eager 1,8,20 5

# What is not timed may share the device. The plain variants take 36 ms a step, so quick will do.
LINES_SHOWN=0 step verify-batched "$python" -m backtest verify batched eager --device cuda --seed 1 \
  --set $full &
LINES_SHOWN=0 step verify-fused "$python" -m backtest verify fused:precision=fp32 \
  fused:precision=fp16 fused:precision=tf32 --device cuda --level full --seed 1 --set $full
grep -hE ' (FAIL|claims) |fails' "$results/verify-fused.log"
wait
grep -hE ' (FAIL|claims) |fails' "$results/verify-batched.log"
profile compiled compiled $all 20
LINES_SHOWN=1 step verify-compiled "$python" -m backtest verify compiled --device cuda --seed 1 \
  --set $full
