"""Markdown tables of what `train.py`, `train_output.py` or `evaluate.py` measured, for docs/guard.md.

python experiments/guard/tables.py src/charter/guard/weights/classifier.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def share(value: list[float] | None) -> str:
    """A rate with its interval in percent; empty when there are no such rows."""
    return f"{value[0] * 100:.1f}% ({value[1] * 100:.1f} to {value[2] * 100:.1f})" if value else ""


def line(name: str, found: dict[str, Any]) -> str:
    rates = [share(found.get(key)) for key in ("recall", "false_positives")]
    numbers = [f"{found[key]:.2f}" if key in found else "" for key in ("f1", "auprc", "recall_at_1", "recall_at_5")]
    return "| " + " | ".join([name, str(found["n"]), str(found["harmful"]), *rates, *numbers]) + " |"


def main() -> None:
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("| set | n | harmful | recall | false positives | F1 | AUPRC | recall at 1% | recall at 5% |")
    print("|---|---:|---:|---|---|---:|---:|---:|---:|")
    for name, table in found.get("measured", found).items():
        print(line(name, table))


if __name__ == "__main__":
    main()
