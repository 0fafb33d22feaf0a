"""Single completions found good or bad: TRL's unpaired shape, pairs taken apart, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.feedback.ratings import read_ratings
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
    first, second = read_ratings(source)
    assert (first.id, first.prompt, first.completion, first.desirable) == (
        "rated-1", user_prompt("Hi."), "Hello.", True,
    )  # fmt: skip
    assert second.prompt == (Message("system", "Be brief."), Message("user", "Hi."))
    assert (second.id, second.completion, second.desirable) == ("mine", "What?", False)


def test_pairs_are_taken_apart(tmp_path: Path) -> None:
    source = written(tmp_path, {"prompt": "Hi.", "chosen": "Hello.", "rejected": "No."})
    assert [(r.id, r.completion, r.desirable) for r in read_ratings(source)] == [
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
    assert [r.id for r in read_ratings(written(tmp_path, row, row))] == ["1", "1@rated-2"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": "Hi.", "completion": "Yes", "label": "good"}], r"line 1: a rated row needs.*label"),
        ([{"prompt": "Hi.", "completion": "Yes"}], r"line 1: a rated row needs.*its keys: prompt, completion"),
        ([{"prompt": "Hi.", "label": True}], "line 1: a rated row needs"),
        ([{"completion": "Yes", "label": True}], 'line 1: needs "prompt"'),
        (
            [
                {"prompt": "Hi.", "completion": "Yes", "label": True},
                {"prompt": "Hi.", "chosen": "Yes", "rejected": "No"},
            ],
            "line 2: the file mixes pairs with single completions",
        ),
        (
            [{"prompt": "Hi.", "completion": [{"role": "user", "content": "No"}], "label": True}],
            "line 1: the last message of an answer",
        ),
        ([], "holds no rows"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_ratings(written(tmp_path, *rows))
