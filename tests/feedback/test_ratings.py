"""Single completions found good or bad: TRL's unpaired shape, and pairs taken apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charter.feedback.formats import read_rated
from charter.records import Message, Preference, Rated, rated_sides, user_prompt


def written(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rated.jsonl")


def test_standard_and_conversational_rows(tmp_path: Path) -> None:
    source = written(
        tmp_path,
        {"prompt": "Hi.", "completion": "Hello.", "label": True},
        {
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}],
            "completion": [{"role": "assistant", "content": "What?"}],
            "label": False,
            "id": "mine",
        },
    )
    first, second = read_rated(source)
    assert (first.id, first.prompt, first.completion, first.desirable) == (
        "rated-1", user_prompt("Hi."), "Hello.", True,
    )  # fmt: skip
    assert second.prompt == (Message("system", "Be brief."), Message("user", "Hi."))
    assert (second.id, second.completion, second.desirable) == ("mine", "What?", False)


def test_pairs_are_taken_apart(tmp_path: Path) -> None:
    source = written(tmp_path, {"prompt": "Hi.", "chosen": "Hello.", "rejected": "No."})
    assert [(r.id, r.completion, r.desirable) for r in read_rated(source)] == [
        ("rated-1/chosen", "Hello.", True),
        ("rated-1/rejected", "No.", False),
    ]
    pair = Preference("p", user_prompt("Hi."), "Yes", "No", ("a.b",), "s", 0.5, "", True, False)
    assert rated_sides(pair) == (
        Rated("p/chosen", pair.prompt, "Yes", True, ("a.b",), "s", 0.5, True),
        Rated("p/rejected", pair.prompt, "No", False, ("a.b",), "s", 0.5, False),
    )


def test_ids_that_occur_twice_are_told_apart(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": "Hi.", "completion": "Hello.", "label": True}
    assert [r.id for r in read_rated(written(tmp_path, row, row))] == ["1", "1@rated-2"]
