"""The constant of the conformal CUSUM's false-alarm formula, measured: c = P(sum passes h within n rows) exp(h) / n.

python experiments/watch/calibrate.py
"""

import json

import numpy as np

from charter.watch.conformal import bets

STREAMS = 20_000


def tops(length: int, seed: int) -> np.ndarray:
    """The largest sum within each of STREAMS streams of uniform p-values."""
    rng = np.random.default_rng(seed)
    total, top = np.zeros(STREAMS), np.zeros(STREAMS)
    for _ in range(length):
        total = np.maximum(total, 0.0) + bets(rng.random(STREAMS))
        np.maximum(top, total, out=top)
    return top


if __name__ == "__main__":
    found = {}
    for length in (100, 500, 2000):
        top = tops(length, seed=length)
        found[length] = {h: float((top > h).mean() * np.exp(h) / length) for h in (4, 5, 6, 7)}
    print(json.dumps(found, indent=1))
