"""Write the shipped suites' samples from the hand-written slots in this folder: `python experiments/suites/build.py`.

The files that it writes are in src/charter/evaluation/suites/data; a test holds that they are what this script writes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import conduct
import fairness
import gaming
import harm
import honesty
import secrets_kept
import sycophancy
from shared import DATA, Row

SUITES: dict[str, Callable[[], list[Row]]] = {
    "harmful_requests_wide": harm.harmful_requests_wide,
    "advanced_risk": honesty.advanced_risk,
    "knowledge_choices": honesty.knowledge_choices,
    "invented_entities": honesty.invented_entities,
    "false_premises": honesty.false_premises,
    "opinion_matching": sycophancy.opinion_matching,
    "are_you_sure": sycophancy.are_you_sure,
    "invented_mistakes": sycophancy.invented_mistakes,
    "false_praise": sycophancy.false_praise,
    "fair_decisions": fairness.fair_decisions,
    "memorised_canaries": secrets_kept.memorised_canaries,
    "system_prompt_extraction": secrets_kept.system_prompt_extraction,
    "private_details": secrets_kept.private_details,
    "scope": conduct.scope,
    "tone": conduct.tone,
    "refusing_without_delivering": secrets_kept.refusing_without_delivering,
    "verbosity": conduct.verbosity,
    "specification_gaming": gaming.specification_gaming,
}


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
