"""Measure the shipped stack as people run it, on the held-out sets: every layer, thresholds as shipped.

    python experiments/guard/evaluate.py DATA_FOLDER --out FILE [--sets NAME ...]

Prints one JSON object a set and writes them to FILE. n, recall and false positives with 95% Wilson intervals, F1 at the
shipped threshold, AUPRC, and recall at 1% and 5% false positives of that set's own harmless rows.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from data import held_out, held_out_exchanges
from measure import table

from charter.guard.build import baseline
from charter.guard.verdicts import STOP_AT
from charter.records import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", help="only these")
    options = parser.parse_args()
    stack = baseline()
    tables: dict[str, object] = {}
    scores: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for name, rows in held_out(options.data).items():
        if options.sets and name not in options.sets:
            continue
        begun = time.monotonic()
        scores[name] = np.array([stack.check_input(text).score for text, _ in rows])
        labels[name] = np.array([bad for _, bad in rows], dtype=int)
        tables[name] = table(scores[name] - STOP_AT, labels[name])
        print(name, json.dumps(tables[name]), f"{time.monotonic() - begun:.0f} s", flush=True)
    # What must be told apart at fixed false positives often lies in two sets.
    everyday = [n for n in ("ultrafeedback-eval", "mt-bench", "self-instruct-user") if n in scores]
    for name, bad in (
        ("jailbreaks", ("guardrails-demo", "langkit-jailbreak")),
        ("injections", ("giskard",)),
        ("suffixes", ("random-suffixes",)),
    ):
        if everyday and all(b in scores for b in bad):
            harmful = np.concatenate([scores[b][labels[b] == 1] for b in bad])
            harmless = np.concatenate([scores[e] for e in everyday])
            both = np.r_[np.ones(len(harmful), dtype=int), np.zeros(len(harmless), dtype=int)]
            tables[f"{name} against everyday prompts"] = table(np.r_[harmful, harmless] - STOP_AT, both)
            print(name, json.dumps(tables[f"{name} against everyday prompts"]), flush=True)
    for name, exchanges in held_out_exchanges(options.data).items():
        if options.sets and name not in options.sets:
            continue
        found = np.array([stack.check_output(row.prompt, row.completion).score for row in exchanges])
        tables[f"output: {name}"] = table(found - STOP_AT, np.array([row.harmful for row in exchanges], dtype=int))
        print("output:", name, json.dumps(tables[f"output: {name}"]), flush=True)
    write_text(options.out, json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
