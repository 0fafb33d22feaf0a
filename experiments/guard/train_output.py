"""Train the output head: whether prompt and completion together deliver harm.

    python experiments/guard/train_output.py DATA_FOLDER --cache FILE [--fpr 0.02]

The cache is the one of `train.py`. Every window of the completion is a training row beside the opening of its prompt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from data import Exchange, exchanges, held_out_exchanges
from embedding import Kept, key
from fit import Windows, fit, merged, text_logits, window_logits
from measure import table
from safetensors.numpy import save
from train import platt

from charter.guard.encoder import encoder
from charter.guard.head import FORMAT
from charter.guard.layers.classifier import WEIGHTS
from charter.guard.layers.delivered import joined
from charter.models.minilm import SHA256
from charter.records import write_text

SEEDS = 3


def featurise(kept: Kept, rows: list[Exchange]) -> Windows:
    """Each window of the completions beside the opening window of its prompt."""
    embeddings, owner = kept.windows([row.completion for row in rows])
    prompts = [kept.found[key(row.prompt)][0].astype(np.float32) for row in rows]
    x = [joined(prompts[o], e[None])[0] for e, o in zip(embeddings, owner.tolist(), strict=True)]
    return Windows(torch.from_numpy(np.stack(x)), torch.from_numpy(owner))


def held_fold(row: Exchange) -> int:
    """Questions are held out whole: their answers share their words."""
    return hashlib.sha256((row.prompt or row.completion).encode()).digest()[0] % 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--fpr", type=float, default=0.02, help="of harmless exchanges out of fold; sets the threshold")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    kept = Kept(options.cache, encoder())
    rows, sets = exchanges(options.data), held_out_exchanges(options.data)
    kept.add([text for part in [rows, *sets.values()] for row in part for text in (row.prompt, row.completion)])
    found = featurise(kept, rows)
    bad = np.array([row.harmful for row in rows], dtype=np.float32)
    y_W1 = torch.from_numpy(bad)[found.owner][:, None]
    # Of a long harmful answer some windows are harmless: they count less than those of a harmless one.
    counts = torch.bincount(found.owner).float()
    weight_W = torch.where(y_W1[:, 0] > 0, 1 / counts.sqrt()[found.owner], 1.0)
    nets = [fit(found, y_W1, weight_W, seed) for seed in range(SEEDS)]
    fold_W = torch.tensor([held_fold(row) for row in rows])[found.owner]
    folds = torch.zeros(len(found.x), 1)
    for fold in range(4):
        seen = fold_W != fold
        folds[~seen] = window_logits([fit(found.only(seen), y_W1[seen], weight_W[seen], fold)], found.only(~seen))
    held = text_logits(folds, found.owner).numpy()[:, 0]
    offset = float(np.quantile(held[bad == 0], 1 - options.fpr))
    tables = {"out of fold": table(held - offset, bad.astype(int))}
    for name, part in sets.items():
        f = featurise(kept, part)
        logits = text_logits(window_logits(nets, f), f.owner).numpy()[:, 0]
        tables[name] = table(logits - offset, np.array([row.harmful for row in part], dtype=int))
    blob = save(merged(nets))
    meta = {
        "format": FORMAT, "kinds": ["delivered"], "offsets": {"delivered": offset},
        "slopes": {"delivered": platt(held, bad, np.ones_like(bad))}, "false_positive_rate": options.fpr,
        "encoder": encoder().backend, "embedding_sha256": SHA256, "weights_sha256": hashlib.sha256(blob).hexdigest(),
        "trained_on": {s: {str(h): sum(r.source == s and r.harmful == h for r in rows) for h in (True, False)}
                       for s in sorted({row.source for row in rows})},
        "measured": tables,
    }  # fmt: skip
    (options.out / "delivered.safetensors").write_bytes(blob)
    write_text(options.out / "delivered.json", json.dumps(meta, indent=1) + "\n")
    for name, found_table in tables.items():
        print(name, json.dumps(found_table))


if __name__ == "__main__":
    main()
