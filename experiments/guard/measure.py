"""What the guard's scores are worth on labelled sets: recall at fixed false positives, AUPRC, F1 at a threshold."""

from __future__ import annotations

import numpy as np
from fit import KINDS

from charter.stats.intervals import wilson

STOPS = ("harm", "jailbreak", "injection")


def auprc(score_N: np.ndarray, bad_N: np.ndarray) -> float:
    """Average precision: the mean precision at each harmful row, from the highest score down."""
    order = np.argsort(-score_N, kind="stable")
    hits = bad_N[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits).sum() / hits.sum())


def recall_at(score_N: np.ndarray, bad_N: np.ndarray, fpr: float) -> float:
    """Recall at the threshold that lets `fpr` of these harmless rows through to be stopped."""
    return float((score_N[bad_N == 1] > np.quantile(score_N[bad_N == 0], 1 - fpr)).mean())


def f1(stopped_N: np.ndarray, bad_N: np.ndarray) -> float:
    hits = float((stopped_N & (bad_N == 1)).sum())
    return 2 * hits / max(float(stopped_N.sum() + bad_N.sum()), 1.0)


def table(margin_N: np.ndarray, bad_N: np.ndarray) -> dict[str, object]:
    """margin_N: score over threshold, the highest of the kinds that stop; from 0 on it stops."""
    stopped = margin_N >= 0
    out: dict[str, object] = {"n": len(bad_N), "harmful": int(bad_N.sum())}
    for name, part in (("recall", bad_N == 1), ("false_positives", bad_N == 0)):
        if part.any():
            hits, n = int(stopped[part].sum()), int(part.sum())
            out[name] = [round(hits / n, 4), *(round(x, 4) for x in wilson(hits, n))]
    if 0 < bad_N.sum() < len(bad_N):
        out |= {
            "f1": round(f1(stopped, bad_N), 4),
            "auprc": round(auprc(margin_N, bad_N), 4),
            "recall_at_1": round(recall_at(margin_N, bad_N, 0.01), 4),
            "recall_at_5": round(recall_at(margin_N, bad_N, 0.05), 4),
        }
    return out


def margins(logits_NK: np.ndarray, offsets: dict[str, float], slopes: dict[str, float]) -> np.ndarray:
    """The highest of the kinds that stop, each above its threshold in calibrated logits, shape (N,)."""
    return np.max([(logits_NK[:, KINDS.index(kind)] - offsets[kind]) * slopes[kind] for kind in STOPS], axis=0)


def measured(
    sets: dict[str, list[tuple[str, bool]]],
    logits: dict[str, np.ndarray],
    offsets: dict[str, float],
    slopes: dict[str, float],
) -> dict[str, dict[str, object]]:
    """The table of every set."""
    return {
        name: table(margins(logits[name], offsets, slopes), np.array([bad for _, bad in sets[name]], dtype=int))
        for name in logits
    }
