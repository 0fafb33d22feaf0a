"""The usual PSI for comparison: edges from both samples, threshold 0.1, as evidently 0.7 computes it by default.

python experiments/watch/psi.py             # false alarms of that rule, Beta(1, 8) scores, no change
python experiments/watch/psi.py --check     # the same numbers from evidently itself, where it is installed
"""

from __future__ import annotations

import json
import sys

import numpy as np

THRESHOLD = 0.1
EMPTY = 0.0001


def both_sample_psi(reference: np.ndarray, current: np.ndarray) -> float:
    """PSI over histogram bins (Sturges) of both samples together; empty bins count as 0.0001."""
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), bins="sturges")
    shares = [np.histogram(side, edges)[0] / len(side) for side in (reference, current)]
    p, q = (np.where(share == 0, EMPTY, share) for share in shares)
    return float(((p - q) * np.log(p / q)).sum())


def evidently_psi(reference: np.ndarray, current: np.ndarray) -> float:
    import pandas as pd
    from evidently.legacy.calculations.stattests import psi_stat_test
    from evidently.legacy.core import ColumnType

    found = psi_stat_test(pd.Series(reference), pd.Series(current), ColumnType.Numerical, THRESHOLD)
    return float(found.drift_score)


if __name__ == "__main__":
    measure = evidently_psi if "--check" in sys.argv else both_sample_psi
    runs = 200 if "--check" in sys.argv else 2000
    found = {}
    for n in (100, 200, 500, 2000):
        rng = np.random.default_rng(n)
        values = [measure(rng.beta(1, 8, n), rng.beta(1, 8, n)) for _ in range(runs)]
        found[n] = {"runs": runs, "false_alarms": float(np.mean(np.array(values) >= THRESHOLD)), "first": values[:2]}
    print(json.dumps(found))
