"""What reward models read beside a pair: its margin, and whether its sides are harmless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.feedback.formats import read_preferences
from charter.records import as_row, preference_from

PAIR = {"prompt": "Hi.", "chosen": "Hello.", "rejected": "No."}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "pairs.jsonl")


def test_margin_and_safety_travel_with_the_pair(tmp_path: Path) -> None:
    said = {**PAIR, "margin": 1.5, "chosen_safe": True, "rejected_safe": False}
    full, bare = read_preferences(written(tmp_path, said, PAIR))
    assert (full.margin, full.chosen_safe, full.rejected_safe) == (1.5, True, False)
    assert (bare.margin, bare.chosen_safe, bare.rejected_safe) == (None, None, None)
    assert preference_from(as_row(full)) == full


def test_the_margin_of_scored_completions_is_the_difference_of_their_scores(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi.", "completion": text, "score": score} for text, score in [("A", 1), ("B", 4.5), ("C", 2)]]
    (pair,) = read_preferences(written(tmp_path, *rows))
    assert (pair.chosen, pair.rejected, pair.margin) == ("B", "A", 3.5)


@pytest.mark.parametrize("wrong", [{"margin": "wide"}, {"chosen_safe": "yes"}])
def test_what_is_no_margin_or_flag_is_an_error_with_its_place(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="line 1"):
        read_preferences(written(tmp_path, {**PAIR, **wrong}))
