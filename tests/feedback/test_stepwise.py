"""Labelled steps as TRL writes them: what is read, what is refused with its place, what inspection says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.feedback.formats import load, read_stepwise
from charter.recipes.inspect_data import inspect_data
from charter.records import Message, Stepwise, as_row, stepwise_from, user_prompt

ROW = {"prompt": "Which is larger?", "completions": ["11 > 8.", "Hence 9.11 > 9.8."], "labels": [True, False]}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "steps.jsonl")


def test_steps_and_labels_are_read_and_written_again(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be exact."}, {"role": "user", "content": "Which?"}]
    plain, talk = read_stepwise(written(tmp_path, ROW, {**ROW, "id": "b", "prompt": chat, "labels": [0.25, -1]}))
    steps = ("11 > 8.", "Hence 9.11 > 9.8.")
    assert plain == Stepwise(plain.id, user_prompt("Which is larger?"), steps, (1.0, 0.0), source=plain.source)
    assert (talk.id, talk.prompt[0], talk.labels) == ("b", Message("system", "Be exact."), (0.25, -1.0))
    assert stepwise_from(json.loads(json.dumps(as_row(talk)))) == talk


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"labels": [True]}, 'has 2 steps in "completions" and 1 "labels"'),
        ({"labels": [True, "yes"]}, "the label of step 2 must be true, false or a number; got 'yes'"),
        ({"labels": [True, None]}, "the label of step 2 must be"),
        ({"completions": "11 > 8."}, '"completions" must be a list of steps'),
        ({"completions": [{"response": "11"}]}, '"completions" must be a list of steps'),
        ({"prompt": ""}, "has no prompt, or an empty one"),
        ({"completions": ["\ud800", "b"]}, "half a character"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match="line 2") as error:
        read_stepwise(written(tmp_path, ROW, {**ROW, **wrong}))
    assert says in str(error.value)


def test_a_row_without_steps_is_counted(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, ROW, {**ROW, "completions": [], "labels": []}))
    assert (loaded.format.name, loaded.style) == ("stepwise supervision", "strings")
    assert (len(loaded.records), dict(loaded.dropped)) == (1, {"has no steps": 1})


def test_inspection_counts_steps_as_training_would(tmp_path: Path, tiny_base: Path) -> None:
    broken = {**ROW, "completions": ["a\nb", "c"]}
    found = inspect_data(written(tmp_path, ROW, broken, {**ROW, "completions": ["x" * 600, "y"]}), str(tiny_base), 512)
    assert (found.format, found.style, list(found.records)) == ("stepwise supervision", "strings", ["stepwise"])
    assert (found.records["stepwise"].records, found.records["stepwise"].usable) == (3, 1)
    assert found.drops == {"a step is empty or has the separator inside": 1, "longer than 512 tokens": 1}
    assert "6 steps with labels (true or false, mean 0.50), 2.0 a completion" in found.notes[-1]
