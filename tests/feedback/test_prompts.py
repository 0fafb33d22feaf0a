"""Prompts alone, out of files of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.feedback.formats import read_prompts
from charter.records import Message, user_prompt


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


HI = user_prompt("Hi")
SHAPES: dict[str, dict[str, Any]] = {
    "a prompt": {"prompt": "Hi"},
    "prompt as messages": {"prompt": [turn("user", "Hi")]},
    "an instruction": {"instruction": "Hi"},
    "messages": {"messages": [turn("user", "Hi")]},
    "messages with an answer": {"messages": [turn("user", "Hi"), turn("assistant", "Hello")]},
    "ShareGPT": {"conversations": [{"from": "human", "value": "Hi"}]},
    "a demonstration": {"prompt": "Hi", "completion": "Hello"},
    "a pair": {"prompt": "Hi", "chosen": "Hello", "rejected": "Go"},
    "a pair of transcripts": {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Yes",
        "rejected": "\n\nHuman: Hi\n\nAssistant: No",
    },
    "a rating": {"prompt": "Hi", "completion": "Hello", "label": False},
    "labelled steps": {"prompt": "Hi", "completions": ["Hello", "Bye"], "labels": [True, False]},
    "a score": {"prompt": "Hi", "completion": "Hello", "score": 2},
}


@pytest.mark.parametrize("row", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_gives_its_prompt(tmp_path: Path, row: dict[str, Any]) -> None:
    prompts, dropped = read_prompts(write(tmp_path, {**row, "id": "x"}))
    assert [(one.id, one.prompt) for one in prompts] == [("x", HI)]
    assert not dropped


def test_earlier_turns_belong_to_the_prompt(tmp_path: Path) -> None:
    turns = [turn("system", "Be kind."), turn("user", "Hi"), turn("assistant", "Hello"), turn("user", "More")]
    ((one,), _) = read_prompts(write(tmp_path, {"messages": turns}))
    assert [message.role for message in one.prompt] == ["system", "user", "assistant", "user"]


def test_each_prompt_is_read_once_and_ids_are_distinct(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "Hi"}, {"id": "b", "prompt": "Hi"}, {"id": "a", "prompt": "Ho"}]
    prompts, dropped = read_prompts(write(tmp_path, *rows))
    assert [one.prompt for one in prompts] == [HI, user_prompt("Ho")]
    assert prompts[0].id == "a" != prompts[1].id
    assert dropped == {"same prompt as an earlier row": 1}


def test_rows_that_ask_nothing_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [{"messages": [turn("user", "Hi")]}, {"messages": [turn("system", "Be kind.")]}]
    prompts, dropped = read_prompts(write(tmp_path, *rows))
    assert [one.prompt for one in prompts] == [(Message("user", "Hi"),)]
    assert dropped == {"has no user's turn to answer": 1}
    with pytest.raises(UserError, match=r"none of its 1 rows can be used \(has no user's turn to answer: 1\)"):
        read_prompts(write(tmp_path, rows[1]))
