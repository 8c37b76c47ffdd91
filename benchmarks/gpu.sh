#!/usr/bin/env bash
# Everything that is measured at full size on one NVIDIA GPU, about four minutes on an H200:
#   benchmarks/gpu.sh RESULTS [PYTHON]
# leaves latency profiles (RESULTS/*.parquet), checks against float64 and a log of each step.
# Steps come in order of importance; one that fails is named and the others go on.
set -u
cd "$(dirname "$0")/.."
results=$1
python=${2:-python3}
mkdir -p "$results"

step() {
  local name=$1
  shift
  local began=$SECONDS
  if "$@" >"$results/$name.log" 2>&1; then echo "== $name: $((SECONDS - began)) s"
  else echo "== $name: FAILED after $((SECONDS - began)) s"; fi
  tail -n 14 "$results/$name.log"
}

profile() { # NAME STRATEGY SIZES BATCHES
  step "$1" "$python" -m backtest profile "$2" --device cuda --unverified --sizes "$3" \
    --batches "$4" --set strategy.weights=random:1 --output "$results/$1.parquet"
}

# Kernels compile side by side first, so that the timed processes find them ready.
for precision in fp16 fp32 tf32; do
  "$python" -m backtest profile "fused:precision=$precision" --device cuda --unverified --sizes 1 \
    --batches 1 --set strategy.weights=random:1 >"$results/compile-$precision.log" 2>&1 &
done
wait
echo "== kernels compiled: $SECONDS s"

all=1,8,20,39,128
profile h200-fused-fp16 fused:precision=fp16 $all 200
profile h200-fused-fp32 fused:precision=fp32 $all 150
step check-fp16 "$python" benchmarks/fused.py check fp16 "$results/fused-check-fp16.json"
step check-fp32 "$python" benchmarks/fused.py check fp32 "$results/fused-check-fp32.json"
profile h200-batched batched $all 20
profile h200-eager eager 1,8,20 5
step lstm "$python" -m backtest profile lstm --plugin benchmarks/lstm.py --device cuda \
  --unverified --sizes 1,2,4,8,16,32 --batches 2000 --output "$results/h200-lstm.parquet"
profile h200-fused-tf32 fused:precision=tf32 $all 150
profile h200-stateless stateless $all 20
profile h200-last-write last-write $all 20
step verify "$python" -m backtest verify fused:precision=fp32 fused:precision=fp16 batched \
  --device cuda --seed 1 --set strategy.weights=random:1:64x2
