"""How often a replay without any change raises any alarm: real prompts, reference and stream drawn from one pool.

    python experiments/watch/false_alarms.py --n 200 --runs 300 >> false_alarms.jsonl

One JSON line a run: stream length, seed, alarms by kind, and what a PSI with edges from both samples says at 0.1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from psi import both_sample_psi
from traffic import Prompts, prompts, row

from charter.watch.replay import Settings, replay
from charter.watch.traffic import traffic_of

REFERENCE = 500


def one(pool: Prompts, n: int, seed: int) -> dict[str, object]:
    """A reference and a stream of n rows drawn anew from the everyday prompts, replayed."""
    drawn = np.random.default_rng([n, seed]).choice(len(pool.everyday), REFERENCE + n, replace=False)
    sides, embedded = [], []
    for part in (drawn[:REFERENCE], drawn[REFERENCE:]):
        rows = [row(str(i), pool.everyday[i], float(pool.everyday_scores_N[i])) for i in part]
        sides.append(traffic_of([(f"row {i}", one) for i, one in enumerate(rows)]))
        embedded.append({"prompt": (np.ones(len(part), dtype=bool), pool.everyday_ND[part])})
    alarms, _ = replay(sides[0], sides[1], (embedded[0], embedded[1]), Settings(seed=seed))
    psi = both_sample_psi(sides[0].scores_N, sides[1].scores_N)
    return {
        "n": n,
        "seed": seed,
        "alarms": dict(Counter(alarm.kind for alarm in alarms)),
        "psi": psi,
        "psi_flags": psi >= 0.1,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    asked = parser.parse_args()
    pool = prompts()
    for seed in range(asked.start, asked.start + asked.runs):
        print(json.dumps(one(pool, asked.n, seed)), flush=True)
