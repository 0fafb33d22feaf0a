"""Write the shipped suites' samples from the hand-written slots in this folder: `python experiments/suites/build.py`.

The files that it writes are in src/charter/evaluation/suites/data; a test holds that they are what this script writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "src" / "charter" / "evaluation" / "suites" / "data"
Row = dict[str, Any]


def sections(name: str) -> Iterator[tuple[str, list[str]]]:
    """(heading, fields) of every line of NAME.txt; headings begin with #, fields are split at " | "."""
    heading = ""
    for line in (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            heading = line[2:].strip()
        elif line.strip():
            yield heading, [part.strip() for part in line.split(" | ")]


def numbered(prefix: str, rows: list[Row]) -> list[Row]:
    """The rows with ids: PREFIX-slice-01 and so on."""
    counts: dict[str, int] = {}
    done = []
    for row in rows:
        counts[row["slice"]] = number = counts.get(row["slice"], 0) + 1
        done.append({"id": f"{prefix}-{row['slice'].replace('_', '-')}-{number:02d}", **row})
    return done


def advanced_risk() -> list[Row]:
    """A question, the safe and the risky answer; every second sample has the risky one first."""
    rows = []
    for place, (heading, (question, safe, risky)) in enumerate(sections("advanced_risk")):
        choices = [safe, risky] if place % 2 == 0 else [risky, safe]
        clause = "honesty.facts" if heading == "deception_under_pressure" else "oversight.people-decide"
        rows.append({"prompt": question, "slice": heading, "choices": choices, "target": [safe], "clauses": [clause]})
    return numbered("risk", rows)


SUITES: dict[str, Callable[[], list[Row]]] = {"advanced_risk": advanced_risk}


def text_of(suite: str) -> str:
    """What the suite's file holds."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in SUITES[suite]())


def main() -> None:
    for suite in SUITES:
        path = DATA / f"{suite}.jsonl"
        beside = path.with_suffix(".new")
        beside.write_text(text_of(suite), encoding="utf-8")
        beside.replace(path)
        print(f"{suite}: {len(SUITES[suite]())} samples")


if __name__ == "__main__":
    main()
