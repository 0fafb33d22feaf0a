"""Train the guard's heads, set their thresholds, measure them, and write weights and meta into the package.

    python experiments/guard/train.py DATA_FOLDER --cache FILE

DATA_FOLDER holds the development sets by name (see `data.py`). Takes some minutes on two idle cores, nearly all of it
embedding; the cache keeps that for the next time. Everything is seeded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import torch
from data import Row, held_out, training_rows
from embedding import Kept, key
from fit import KINDS, Windows, fit, merged, targets, text_logits, window_logits
from measure import measured
from safetensors.numpy import save

from charter.guard.encoder import encoder
from charter.guard.head import FORMAT, load_head
from charter.guard.layers.classifier import WEIGHTS
from charter.models.minilm import SHA256
from charter.records import write_text

SEEDS, FOLDS = 3, 2
LOOKALIKES = ("suite-lookalikes", "coconot", "notinject")
EVERYDAY = ("ultrafeedback-eval", "mt-bench", "self-instruct-user")
"""Held-out sets whose harmless rows set the thresholds, in two groups: alarming words; ordinary prompts."""
ALLOWED = {"harm": (0.04, 0.02), "jailbreak": (0.005, 0.005), "injection": (0.005, 0.005)}
"""Share of look-alikes and of everyday prompts that each kind may stop: of look-alikes at most 5% all together."""
ALLOWED_IN_TRAINING = 0.01
"""The same for kinds that have no such sets, on harmless training rows out of fold."""


def available(rows: list[Row], kept: Kept) -> list[Row]:
    return [row for row in rows if key(row.text) in kept.found]


def featurise(kept: Kept, texts: list[str]) -> Windows:
    x, owner = kept.windows(texts)
    return Windows(torch.from_numpy(x), torch.from_numpy(owner))


def spread(rows: list[Row], found: Windows) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets (W, K) and weights (W,) of each window of the rows. The windows of a long text share its weight: which
    of them carries the harm is not known."""
    counts = torch.bincount(found.owner, minlength=len(rows)).float()
    y_NK = torch.tensor([targets(row.category, row.soft) for row in rows])
    weight_N = torch.tensor([row.weight for row in rows]) / counts.sqrt()
    return y_NK[found.owner], weight_N[found.owner]


def group(source: str, text: str) -> int:
    """Fold of a row: sources of sentences are split by text, since there is one of each kind only."""
    return hashlib.sha256(f"{source}{text[:24]}".encode()).digest()[0] % FOLDS


def out_of_fold(rows: list[Row], found: Windows) -> torch.Tensor:
    """Logits of each row from networks that saw no row of its fold, (N, K)."""
    y_WK, weight_W = spread(rows, found)
    fold_W = torch.tensor([group(row.source, row.text) for row in rows])[found.owner]
    out = torch.zeros(len(found.x), len(KINDS))
    for fold in range(FOLDS):
        seen = fold_W != fold
        net = fit(found.only(seen), y_WK[seen], weight_W[seen], seed=fold)
        out[~seen] = window_logits([net], found.only(~seen))
    return text_logits(out, found.owner)


def platt(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Slope of the calibration, by Newton on the weighted log-loss (Platt 1999)."""
    slope, bias = 1.0, 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(slope * logits + bias, -30, 30)))
        g = np.array([(weights * (p - labels) * logits).sum(), (weights * (p - labels)).sum()])
        v = weights * np.maximum(p * (1 - p), 1e-6)
        h = np.array([[(v * logits**2).sum(), (v * logits).sum()], [(v * logits).sum(), v.sum()]]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(h, g)
        slope, bias = slope - step[0], bias - step[1]
    return float(max(slope, 0.1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cached-only", action="store_true", help="train on what the cache holds, embed nothing")
    parser.add_argument("--thresholds-only", action="store_true", help="keep the weights in --out, set thresholds anew")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()

    kept = Kept(options.cache, encoder())
    rows, sets = training_rows(options.data), held_out(options.data)
    if options.cached_only:
        rows = available(rows, kept)
        sets = {name: [pair for pair in found if key(pair[0]) in kept.found] for name, found in sets.items()}
    else:
        kept.add([row.text for row in rows] + [text for found in sets.values() for text, _ in found])
    if options.thresholds_only:
        return set_thresholds(options.out, sets, kept)
    random.Random(0).shuffle(rows)
    found = featurise(kept, [row.text for row in rows])
    y_WK, weight_W = spread(rows, found)
    nets = [fit(found, y_WK, weight_W, seed) for seed in range(SEEDS)]
    folds = out_of_fold(rows, found).numpy()
    offsets, slopes = {}, {}
    for i, kind in enumerate(KINDS):
        y = np.array([targets(row.category, row.soft)[i] for row in rows])
        known = ~np.isnan(y)
        slopes[kind] = platt(folds[known, i], y[known], np.array([row.weight for row in rows])[known])
        offsets[kind] = float(np.quantile(folds[known & (y == 0), i], 1 - ALLOWED_IN_TRAINING))
    blob = save(merged(nets))
    meta = {
        "format": FORMAT, "kinds": KINDS, "offsets": offsets, "slopes": slopes,
        "encoder": encoder().backend, "embedding_sha256": SHA256, "weights_sha256": hashlib.sha256(blob).hexdigest(),
        "trained_on": counts(rows),
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "classifier.safetensors").write_bytes(blob)
    write_text(options.out / "classifier.json", json.dumps(meta, indent=1) + "\n")
    set_thresholds(options.out, sets, kept)


def set_thresholds(folder: Path, sets: dict[str, list[tuple[str, bool]]], kept: Kept) -> None:
    """Set the thresholds of the kinds that stop, measure the head as it ships, and write both into its meta."""
    head = load_head(folder / "classifier.safetensors")
    logits = {}
    for name, pairs in sets.items():
        x, owner = kept.windows([text for text, _ in pairs])
        logits[name] = text_logits(torch.from_numpy(head.logits(x)), torch.from_numpy(owner)).numpy()
    offsets = dict(head.offsets)
    for kind, shares in ALLOWED.items():
        limits = []
        for group, share in zip((LOOKALIKES, EVERYDAY), shares, strict=True):
            harmless = np.concatenate([logits[name][[not bad for _, bad in sets[name]]] for name in group])
            limits.append(float(np.quantile(harmless[:, KINDS.index(kind)], 1 - share)))
        offsets[kind] = max(limits)
    tables = measured(sets, logits, offsets, dict(head.slopes))
    more = {"offsets": offsets, "allowed": ALLOWED, "threshold_sets": [LOOKALIKES, EVERYDAY], "measured": tables}
    write_text(folder / "classifier.json", json.dumps({**head.meta, **more}, indent=1) + "\n")
    for name, table in tables.items():
        print(name, json.dumps(table))


def counts(rows: list[Row]) -> dict[str, int]:
    out: dict[str, int] = {}
    for row in rows:
        name = f"{row.source}: {row.category or 'harmless'}"
        out[name] = out.get(name, 0) + 1
    return dict(sorted(out.items()))


if __name__ == "__main__":
    main()
