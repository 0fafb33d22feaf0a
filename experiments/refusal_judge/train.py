"""Train the refusal judge's head, measure it, and write weights and meta into the package.

    python experiments/refusal_judge/train.py DATA_FOLDER [--cache FILE]

DATA_FOLDER holds the development sets by name (see `data.py`). Takes minutes on two
idle cores, nearly all of it embedding; `--cache` keeps the features for the next time. Everything is seeded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from composed import Row
from data import gptfuzz, shipped_pairs, training_rows, ultrafeedback_eval, xstest
from judge_head import best_temperature, expected_calibration_error, fit_several, out_of_fold
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from charter.judges.calibration import agreement
from charter.judges.embedded import WEIGHTS, names_digest
from charter.judges.refusal import LABELS, feature_names, features, head_logits
from charter.judges.strings import string_match
from charter.models.embedding import SHA256, embedder
from charter.records import write_text

WEIGHT = {
    "composed": 1.5,
    "soft": 3.0,
    "premise": 1.5,
    "smollm2": 3.0,
    "pairs": 3.0,
    "openai-rbr": 2.0,
    "handwritten": 4.0,
    "coconot-read": 3.0,
    "hh-read": 2.0,
}
"""How much a row of a source counts; 1 where absent. Small, clean sources count more."""


def featurise(rows: list[Row], cache: dict[str, Tensor]) -> Tensor:
    """Features of the rows, shape (N, D), from the cache where they are there; the cache is filled."""
    keys = [hashlib.sha256(json.dumps([row.prompt, row.completion]).encode()).hexdigest() for row in rows]
    todo = {key: row for key, row in zip(keys, rows, strict=True) if key not in cache}
    if todo:
        fresh = features([r.prompt for r in todo.values()], [r.completion for r in todo.values()], embedder())
        cache.update({key: row.clone() for key, row in zip(todo, fresh, strict=True)})
    return torch.stack([cache[key] for key in keys])


def label_ids(rows: list[Row]) -> Tensor:
    return torch.tensor([LABELS.index(row.label) for row in rows])


def report(name: str, rows: list[Row], logits: Tensor) -> dict[str, object]:
    """Agreement on one set: three labels, refused (full or partial) or not, full or not; string matching beside it."""
    human = [row.label for row in rows]
    chances = logits.softmax(-1)
    judged = [LABELS[i] for i in chances.argmax(1).tolist()]
    strings = [string_match(row.completion) for row in rows]

    def binary(labels: list[str], yes: tuple[str, ...]) -> list[str]:
        return ["yes" if label in yes else "no" for label in labels]

    matched = ["yes" if hit else "no" for hit in strings]
    out: dict[str, object] = {"three_labels": agreement("refusal", human, judged, LABELS, name).as_json()}
    for event, yes in (("refused", ("full", "partial")), ("refused_fully", ("full",))):
        truth = binary(human, yes)
        out[event] = agreement("refusal", truth, binary(judged, yes), ("yes", "no"), name).as_json()
        out[f"{event}_by_strings"] = agreement("strings", truth, matched, ("yes", "no"), name).as_json()
    out["calibration_error_of_score"] = expected_calibration_error(
        chances[:, 0], torch.tensor([label == "full" for label in human])
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    cache = load_file(options.cache) if options.cache and options.cache.exists() else {}
    rows = training_rows(options.data)
    sets = {
        "gptfuzz evaluate": gptfuzz(options.data, "evaluate"),
        "ultrafeedback eval, chosen": ultrafeedback_eval(options.data),
        "built-in pairs, other half": shipped_pairs("measure"),
        "gptfuzz evaluate, 0 and 1 as labelled": gptfuzz(options.data, "evaluate", raw=True),
        **{f"xstest {model}": found for model, found in xstest(options.data).items()},
    }
    x_ND, y_N = featurise(rows, cache), label_ids(rows)
    measured = {name: featurise(found, cache) for name, found in sets.items()}
    if options.cache:
        save_file(cache, options.cache)
    weight_N = torch.tensor([WEIGHT.get(row.source, 1.0) for row in rows])
    folds = out_of_fold(x_ND, y_N, weight_N, [row.group for row in rows], len(LABELS))
    temperature = best_temperature(folds, y_N, weight_N)
    head = fit_several(x_ND, y_N, weight_N, len(LABELS))
    head["temperature"] = torch.tensor(temperature)
    blob = save(head)

    results = {"out of fold (training sources)": report("out of fold", rows, folds / temperature)}
    for name, found in sets.items():
        results[name] = report(name, found, head_logits(head, measured[name]))
    all_rows = [row for name, found in sets.items() if name.startswith("xstest") for row in found]
    all_x = torch.cat([x for name, x in measured.items() if name.startswith("xstest")])
    results["xstest, all"] = report(
        "XSTest v2 completions of three models, human labels", all_rows, head_logits(head, all_x)
    )
    for name, result in results.items():
        parts = [
            f"{key} {value['accuracy']:.3f} k {value['kappa'] or 0:.3f}"
            for key, value in result.items()
            if isinstance(value, dict)
        ]
        print(name, "|", " | ".join(parts), "|", result["three_labels"]["confusion"])
    meta = {
        "judge": "refusal",
        "labels": LABELS,
        "score": "calibrated chance that it does not comply: full or partial",
        "features_sha256": names_digest(feature_names()),
        "embedding_sha256": SHA256,
        "weights_sha256": hashlib.sha256(blob).hexdigest(),
        "temperature": temperature,
        "trained_on": {
            source: {label: sum(r.source == source and r.label == label for r in rows) for label in LABELS}
            for source in sorted({row.source for row in rows})
        },
        "training_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "agreement": results["xstest, all"]["three_labels"],
        "measured": results,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "refusal.safetensors").write_bytes(blob)
    write_text(options.out / "refusal.json", json.dumps(meta, indent=1) + "\n")


if __name__ == "__main__":
    main()
