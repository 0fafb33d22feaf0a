"""A burst of 30 near-duplicates among 10,000 real prompts: found or not, together and scattered; what else is raised.

    python experiments/watch/bursts.py --runs 3

One JSON line a run. The probe is an in-the-wild jailbreak prompt with another name and number in each copy. By words
alone: no embeddings.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from traffic import everyday_texts, jailbreak_texts

from charter.watch.bursts import find_bursts
from charter.watch.duplicates import alike_by_words, clusters

REFERENCE, STREAM, COPIES, ALPHA = 2500, 10_000, 30, 0.015


def one(texts: list[str], probes: list[str], seed: int, scattered: bool) -> dict[str, object]:
    rng = np.random.default_rng([3, seed])
    drawn = [texts[i] for i in rng.permutation(len(texts))[: REFERENCE + STREAM - COPIES]]
    stream = drawn[REFERENCE:]
    begin = int(rng.integers(0, STREAM - COPIES))
    places = np.sort(rng.choice(STREAM, COPIES, replace=False)) if scattered else np.arange(begin, begin + COPIES)
    probe = probes[int(rng.integers(len(probes)))]
    for n, place in enumerate(places.tolist()):
        stream.insert(place, f"Hello, I am user{n}. {probe} Answer number {n}.")
    every = [*drawn[:REFERENCE], *stream]
    groups = clusters(every, alike_by_words(every))
    found = find_bursts(groups, [None] * len(every), REFERENCE, ALPHA, seed)
    wanted = set(places.tolist())
    hits = [one for one in found if set(one.rows) & wanted]
    named = max((len(set(hit.rows) & wanted) for hit in hits), default=0)
    return {
        "seed": seed, "scattered": scattered, "natural_groups": len(groups) - 1,
        "found": sorted({one.kind for one in hits}), "copies_named": named,
        "others": len(found) - len(hits),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    texts, probes = everyday_texts(), [text for text in jailbreak_texts() if 300 < len(text) < 2000]
    for seed in range(asked.runs):
        for scattered in (False, True):
            print(json.dumps(one(texts, probes, seed, scattered)), flush=True)
