"""Preference rows in the shapes people have, and what a wrong one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.feedback.formats import parse_transcript, preference_of, read_preferences
from charter.records import Message, user_prompt


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be short."}
QUESTION = user_prompt("What is rain?")
SHAPES: dict[str, dict[str, Any]] = {
    "strings": {"prompt": "What is rain?", "chosen": "Water.", "rejected": "Fire."},
    "answers as messages": {"prompt": "What is rain?", "chosen": [said("Water.")], "rejected": [said("Fire.")]},
    "prompt as messages": {"prompt": [user("What is rain?")], "chosen": "Water.", "rejected": "Fire."},
    "messages": {"messages": [user("What is rain?")], "chosen": "Water.", "rejected": "Fire."},
    "prompt repeated in the answers": {
        "prompt": "What is rain?",
        "chosen": [user("What is rain?"), said("Water.")],
        "rejected": [user("What is rain?"), said("Fire.")],
    },
    "whole conversations": {
        "chosen": [user("What is rain?"), said("Water.")],
        "rejected": [user("What is rain?"), said("Fire.")],
    },
    "transcripts": {
        "chosen": "\n\nHuman: What is rain?\n\nAssistant: Water.",
        "rejected": "\n\nHuman: What is rain?\n\nAssistant: Fire.",
    },
    "empty prompt beside transcripts": {
        "prompt": "",
        "chosen": "Human: What is rain?\n\nAssistant: Water.",
        "rejected": "Human: What is rain?\n\nAssistant: Fire.",
    },
}


@pytest.mark.parametrize("row", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_means_the_same_pair(row: dict[str, Any]) -> None:
    found = preference_of(row, "here", "key")
    assert (found.id, found.prompt, found.chosen, found.rejected) == ("key", QUESTION, "Water.", "Fire.")


def test_a_system_message_of_the_prompt_is_kept() -> None:
    row = {
        "prompt": [SYSTEM, user("Hi")],
        "chosen": [user("Hi"), said("Yes?")],
        "rejected": [user("Hi"), said("No.")],
    }
    assert preference_of(row, "here", "k").prompt == user_prompt("Hi", "Be short.")


def test_conversations_longer_than_the_prompt_keep_all_their_turns() -> None:
    before = [user("Hi"), said("Yes?"), user("What is rain?")]
    row = {"prompt": "Hi", "chosen": [*before, said("Water.")], "rejected": [*before, said("Fire.")]}
    found = preference_of(row, "here", "k")
    assert [turn.content for turn in found.prompt] == ["Hi", "Yes?", "What is rain?"]
    assert (found.chosen, found.rejected) == ("Water.", "Fire.")


def test_transcripts_of_several_turns() -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Tell me.\nIn two lines.\n\nAssistant:"
    found = preference_of({"chosen": f"{start} One.\n\nTwo.", "rejected": f"{start} No."}, "here", "k")
    assert found.prompt == (
        Message("user", "Hi"),
        Message("assistant", "Yes?"),
        Message("user", "Tell me.\nIn two lines."),
    )
    assert (found.chosen, found.rejected) == ("One.\n\nTwo.", "No.")


def test_conversations_that_part_before_the_last_turn_are_compared_where_they_part() -> None:
    chosen = "\n\nHuman: Hi\n\nAssistant: Good day.\n\nHuman: Thanks\n\nAssistant: Any time."
    rejected = "\n\nHuman: Hi\n\nAssistant: Go away.\n\nHuman: Rude!\n\nAssistant: So?"
    found = preference_of({"chosen": chosen, "rejected": rejected}, "here", "k")
    assert (found.prompt, found.chosen, found.rejected) == (user_prompt("Hi"), "Good day.", "Go away.")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "Hi", "rejected": "No."}, '"chosen"'),
        ({"prompt": "Hi", "chosen": "Yes."}, '"rejected"'),
        ({"prompt": "Hi", "chosen": [], "rejected": "No."}, '"chosen"'),
        ({"prompt": "Hi", "chosen": 5, "rejected": "No."}, "int"),
        ({"chosen": "Yes.", "rejected": "No."}, '"prompt"'),
        ({"prompt": "Hi", "chosen": [user("Hi")], "rejected": [said("No.")]}, "assistant"),
        ({"chosen": [user("Hi"), said("Yes?"), user("Go")], "rejected": [user("Hi"), said("No.")]}, "assistant"),
        ({"chosen": [said("Yes.")], "rejected": [said("No.")]}, "prompt"),
        # They part in what the person says: no answer of one stands against an answer of the other.
        ({"chosen": [user("Hi"), said("Yes.")], "rejected": [user("Ho"), said("No.")]}, "share no prompt"),
        (
            {
                "chosen": [user("Hi"), said("Yes?"), user("A"), said("1")],
                "rejected": [user("Hi"), said("Yes?"), user("B"), said("2")],
            },
            "share no prompt",
        ),
        (
            {"chosen": [user("Hi"), user("Ho"), said("Yes.")], "rejected": [user("Hi"), said("No.")]},
            "share no prompt",
        ),
    ],
)
def test_a_wrong_row_names_its_place_in_one_paragraph(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        preference_of(row, "pairs.jsonl, line 4", "k")
    assert str(caught.value).startswith("pairs.jsonl, line 4")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_that_is_no_transcript() -> None:
    with pytest.raises(UserError, match="line 9"):
        parse_transcript("Once upon a time\n\nHuman: Hi\n\nAssistant: Yes?", "line 9")


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_mixed_shapes_keeps_its_order(tmp_path: Path) -> None:
    found = read_preferences(str(write(tmp_path, *SHAPES.values())))
    assert [preference.id for preference in found] == [f"pairs-{i}" for i in range(1, len(SHAPES) + 1)]
    assert found[2].source.endswith("pairs.jsonl, line 3")


def test_ids_are_kept_and_told_apart(tmp_path: Path) -> None:
    row = SHAPES["strings"]
    found = read_preferences(str(write(tmp_path, {**row, "id": 7}, {**row, "id": 7}, row, {**row, "id": None})))
    assert [preference.id for preference in found] == ["7", "7@pairs-2", "pairs-3", "pairs-4"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no rows"),
        (b"\n\n", "no rows"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "rejected": "c"}\n', "line 2"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt"\n', "line 2: not valid JSON"),
        (b'{"prompt": "caf\xe9"}\n', "line 1: not UTF-8"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_preferences(str(path))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_not_looked_up_on_a_hub(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_preferences(str(tmp_path / "nothing.jsonl"))


def test_a_dataset_that_cannot_be_reached_is_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="nobody/has-this") as caught:
        read_preferences("nobody/has-this")
    assert "\n" not in str(caught.value)
    assert "network" in str(caught.value)
