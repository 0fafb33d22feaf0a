#!/usr/bin/env bash
# Every bench, one after another, and the tables of docs/bench.md from them. Run it on a machine that does nothing else.
#
#     bench/all.sh [FOLDER]
#
# FOLDER (build/bench/results) keeps what each bench printed: an interrupted run continues with the next bench; remove a
# file, or the folder, to measure anew. PYTHON: the interpreter with charter (.venv/bin/python). RIVAL_PYTHON: one with
# TRL; without it an environment is made under build/rival. BENCH_ARGS: further options, such as "--threads 2".
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/bench/results}
python=${PYTHON:-.venv/bin/python}
rival=(${RIVAL_PYTHON:+--rival-python "$RIVAL_PYTHON"})
mkdir -p "$out" docs/bench

run() { # NAME BENCH OPTIONS…
    local name=$1 bench=$2
    shift 2
    if [ -s "$out/$name.json" ]; then
        echo "== $name: kept from before" >&2
        return
    fi
    echo "== $name" >&2
    "$python" "bench/$bench.py" "$@" | tee "$out/$name.log"
    tail -n 1 "$out/$name.log" >"$out/$name.json"
}

for bench in dpo reward kto sft; do
    run "$bench" "$bench" "${rival[@]}" ${BENCH_ARGS:-}
done
# The same in fp32, where nothing is hidden by rounding: the losses must agree step by step.
for bench in dpo reward kto sft; do
    run "$bench-fp32" "$bench" "${rival[@]}" ${BENCH_ARGS:-} --dtype float32 --steps 3 --batch 4 --max-length 200
done
run memory memory "${rival[@]}" ${BENCH_ARGS:-}
run curves curves "${rival[@]}" ${BENCH_ARGS:-}
run generation generation
run rl rl "${rival[@]}" ${BENCH_ARGS:-}
run rl-rollout rl "${rival[@]}" ${BENCH_ARGS:-} --part rollout
run rl-curves rl "${rival[@]}" ${BENCH_ARGS:-} --part curves --steps 3

cat "$out"/*.json >docs/bench/results.jsonl
"$python" bench/render.py
