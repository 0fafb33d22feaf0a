"""Train the harm judge's heads, measure them by source, and write weights and meta into the package.

    python experiments/harm_judge/train.py DATA_FOLDER [--cache FILE]

DATA_FOLDER holds the development sets by name (see `data.py`). Nearly all of the time is embedding; `--cache` keeps the
features for the next time. Everything is seeded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from data import Row, requests, training_rows, xstest
from judge_head import expected_calibration_error, fit_several, out_of_fold
from safetensors.torch import load_file, save, save_file
from torch import Tensor
from torch.nn import functional as F

from charter.judges.calibration import agreement
from charter.judges.embedded import WEIGHTS, load_head, names_digest, weights_digest
from charter.judges.harm import (
    LABELS,
    REQUEST,
    combined,
    complied,
    harm_feature_names,
    harm_features,
    request_embeddings,
    stack_inputs,
)
from charter.judges.refusal import feature_names, features, head_logits
from charter.judges.strings import string_match
from charter.models.embedding import SHA256, embedder
from charter.records import write_text
from charter.stats.roc import auc

WEIGHT = {"openai-rbr": 3.0, "pairs": 2.0}
"""How much a row of a source counts; 1 where absent. Small, clean sources count more."""
CHUNK = 256

Cache = dict[str, Tensor]


def _kept(keys: Sequence[str], cache: Cache, path: Path | None, make: object) -> Tensor:
    """Rows by key from the cache, made in chunks where they are not there; the file is written after each chunk."""
    todo = [i for i, key in enumerate(keys) if key not in cache]
    for start in range(0, len(todo), CHUNK):
        part = todo[start : start + CHUNK]
        for i, row in zip(part, make(part), strict=True):  # type: ignore[operator]
            cache[keys[i]] = row.clone()
        print(f"embedded {start + len(part)} of {len(todo)}", file=sys.stderr, flush=True)
        if path and (start // CHUNK) % 2:
            save_file(cache, path)
    return torch.stack([cache[key] for key in keys])


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def featurise(rows: Sequence[Row], cache: Cache, path: Path | None) -> tuple[Tensor, Tensor]:
    """(features of the exchanges, embeddings of their requests)."""
    exchange = _kept(
        [_key(row.prompt, row.completion) for row in rows],
        cache,
        path,
        lambda part: features([rows[i].prompt for i in part], [rows[i].completion for i in part], embedder()),
    )
    return exchange, embed_requests([row.prompt for row in rows], cache, path)


def embed_requests(prompts: Sequence[str], cache: Cache, path: Path | None) -> Tensor:
    return _kept(
        [_key("request", prompt) for prompt in prompts],
        cache,
        path,
        lambda part: request_embeddings([prompts[i] for i in part], embedder()),
    )


def train_request_head(asked_ND: Tensor, harmful_N: Tensor) -> dict[str, Tensor]:
    """The head that reads the request alone, its tensors named as the judge looks for them."""
    head = fit_several(asked_ND, harmful_N, torch.ones(len(asked_ND)), 2)
    return {REQUEST + name: value for name, value in head.items()}


def fit_stack(inputs_N2: Tensor, y_N: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (2,) and bias of a logistic regression on what rows left out say: stacking (Wolpert 1992)."""
    weights, bias = torch.zeros(2, requires_grad=True), torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        losses = F.binary_cross_entropy_with_logits(inputs_N2 @ weights + bias, y_N.float(), reduction="none")
        mean = (losses * weight_N).sum() / weight_N.sum() + 1e-4 * weights.square().sum()
        mean.backward()
        return mean

    optimiser.step(loss)
    return weights.detach(), bias.detach()


def weighed(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """(labels, weights) of the rows."""
    return torch.tensor([int(row.harmful) for row in rows]), torch.tensor([WEIGHT.get(row.source, 1.0) for row in rows])


def report(name: str, rows: Sequence[Row], chances: Tensor) -> dict[str, object]:
    """Agreement on one set, with the area under the ROC curve, and "no refusing string" as a harm judge beside it."""
    human = [LABELS[row.harmful] for row in rows]
    judged = [LABELS[chance > 0.5] for chance in chances.tolist()]
    strings = [LABELS[not string_match(row.completion)] for row in rows]
    area = auc(chances.tolist(), [row.harmful for row in rows])
    event_N = torch.tensor([row.harmful for row in rows])
    found = agreement("harm", human, judged, LABELS, name)
    other = agreement("strings", human, strings, LABELS, name)
    print(
        f"{name}: n {found.n}, harmful {sum(event_N.tolist())}, accuracy {found.accuracy:.3f}, "
        f"kappa {found.kappa or 0:.3f}, auc {(area and area.value) or 0:.3f} | "
        f"strings {other.accuracy:.3f}, {other.kappa or 0:.3f} | {found.confusion}"
    )
    return {
        "agreement": found.as_json(),
        "auc": None if area is None else {"value": area.value, "low": area.low, "high": area.high},
        "strings": other.as_json(),
        "calibration_error_of_score": expected_calibration_error(chances, event_N),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    cache = load_file(options.cache) if options.cache and options.cache.exists() else {}
    rows, by_model = training_rows(options.data), xstest(options.data)
    measured_rows = [row for found in by_model.values() for row in found]
    asks = requests(options.data)
    asked_ND = embed_requests([text for text, _, _ in asks], cache, options.cache)
    inputs = featurise(rows, cache, options.cache)
    seen = featurise(measured_rows, cache, options.cache)
    if options.cache:
        save_file(cache, options.cache)

    request = train_request_head(asked_ND, torch.tensor([int(harmful) for _, harmful, _ in asks]))
    x_ND, (y_N, weight_N) = harm_features(request, *inputs), weighed(rows)
    measured: dict[str, object] = {}
    for source in ("gptfuzz", "openai-rbr"):
        keep_N = torch.tensor([row.source != source for row in rows])
        head = fit_several(x_ND[keep_N], y_N[keep_N], weight_N[keep_N], 2)
        title = f"{source}, the head trained without it"
        left_out = [row for row in rows if row.source == source]
        measured[title] = report(title, left_out, head_logits(head, x_ND[~keep_N]).softmax(-1)[:, 1])
    folds = out_of_fold(x_ND, y_N, weight_N, [row.group for row in rows], 2, seeds=range(1))
    weights = request | fit_several(x_ND, y_N, weight_N, 2)
    refusal = load_head("refusal", feature_names())[0]
    stacked_N2 = stack_inputs(weights, folds, complied(refusal, inputs[0]), inputs[1])
    weights["stack"], weights["stack_bias"] = fit_stack(stacked_N2, y_N, weight_N)
    fuzz_N = torch.tensor([row.source == "gptfuzz" for row in rows])
    title = "gptfuzz, the head trained without the question"
    out = (stacked_N2 @ weights["stack"] + weights["stack_bias"]).sigmoid()[fuzz_N]
    measured[title] = report(title, [row for row in rows if row.source == "gptfuzz"], out)
    blob = save(weights)
    logits_N2 = head_logits(weights, harm_features(weights, *seen))
    on = combined(weights, logits_N2, complied(refusal, seen[0]), seen[1]).sigmoid()
    title = "XSTest v2 completions of three models, human labels; no row of it trained"
    whole = measured[title] = report(title, measured_rows, on)
    start = 0
    for model, found in by_model.items():
        measured[f"xstest {model}"] = report(f"xstest {model}", found, on[start : start + len(found)])
        start += len(found)
    sources = sorted({row.source for row in rows})
    meta = {
        "judge": "harm",
        "labels": LABELS,
        "score": "calibrated chance that harm was delivered",
        "features_sha256": names_digest(harm_feature_names()),
        "embedding_sha256": SHA256,
        "weights_sha256": hashlib.sha256(blob).hexdigest(),
        "refusal_sha256": weights_digest("refusal"),
        "stack": [*weights["stack"].tolist(), float(weights["stack_bias"])],
        "trained_on": {
            source: {label: sum(r.source == source and LABELS[r.harmful] == label for r in rows) for label in LABELS}
            for source in sources
        },
        "requests": {
            source: {
                word: sum(s == source and h == harm for _, h, s in asks)
                for word, harm in (("harmful", True), ("harmless", False))
            }
            for source in sorted({source for _, _, source in asks})
        },
        "training_sha256": hashlib.sha256(json.dumps([rows, asks]).encode()).hexdigest(),
        "agreement": whole["agreement"],
        "measured": measured,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "harm.safetensors").write_bytes(blob)
    write_text(options.out / "harm.json", json.dumps(meta, indent=1) + "\n")


if __name__ == "__main__":
    main()
