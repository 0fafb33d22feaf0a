"""How soon a 10% mixture of in-the-wild jailbreak prompts is noticed, and what is raised before it begins.

    python experiments/watch/detection.py --runs 20 >> detection.jsonl

One JSON line a run: rows from the onset to the first alarm of any kind and of each kind; alarms before the onset.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from traffic import Prompts, prompts, row

from charter.watch.replay import Settings, replay
from charter.watch.traffic import traffic_of

REFERENCE, BEFORE, AFTER, MIXTURE = 2000, 300, 400, 0.1


def one(pool: Prompts, seed: int, blind: bool) -> dict[str, object]:
    """blind: the guard is blind to the attack; jailbreaks get scores of everyday prompts."""
    rng = np.random.default_rng([2, seed])
    drawn = rng.choice(len(pool.everyday), REFERENCE + BEFORE + AFTER, replace=False)
    attacks = rng.permutation(len(pool.jailbreaks))
    is_attack = np.concatenate([np.zeros(REFERENCE + BEFORE, bool), rng.random(AFTER) < MIXTURE])
    rows, vectors = [], np.empty((len(drawn), pool.everyday_ND.shape[1]), dtype=np.float32)
    for n, place in enumerate(drawn):
        i = attacks[n % len(attacks)] if is_attack[n] else place
        texts, scores, known = (
            (pool.jailbreaks, pool.jailbreak_scores_N, pool.jailbreak_ND)
            if is_attack[n]
            else (pool.everyday, pool.everyday_scores_N, pool.everyday_ND)
        )
        score = pool.everyday_scores_N[place] if blind else scores[i]
        rows.append((f"row {n}", row(str(n), texts[i], float(score))))
        vectors[n] = known[i]
    sides = traffic_of(rows[:REFERENCE]), traffic_of(rows[REFERENCE:])
    embedded = [
        {"prompt": (np.ones(len(part), dtype=bool), part)} for part in (vectors[:REFERENCE], vectors[REFERENCE:])
    ]
    alarms, _ = replay(*sides, (embedded[0], embedded[1]), Settings(seed=seed))
    after = [
        alarm for alarm in alarms if alarm.row >= BEFORE and alarm.kind not in ("burst", "caller burst", "repeated")
    ]
    first: dict[str, int] = {}
    for alarm in after:
        first.setdefault(alarm.kind, alarm.row - BEFORE + 1)
    return {
        "seed": seed, "blind": blind, "delay": min(first.values(), default=None), "first": first,
        "before_onset": [alarm.kind for alarm in alarms if alarm.row < BEFORE],
        "bursts": sum(alarm.kind in ("burst", "caller burst", "repeated") for alarm in alarms),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--blind", action="store_true")
    asked = parser.parse_args()
    pool = prompts()
    for seed in range(asked.start, asked.start + asked.runs):
        print(json.dumps(one(pool, seed, asked.blind)), flush=True)
