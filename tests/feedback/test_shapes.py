"""Each shape, as its makers document it, and the records it must become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.feedback.formats import load, read_demonstrations, read_preferences, read_rated, read_scored
from charter.records import Conversation, Message, user_prompt

SKY = user_prompt("What colour is the sky?")
CHAT = (*user_prompt("Hi", "Be short."), Message("assistant", "Yes?"), Message("user", "What colour is the sky?"))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ASKED = user("What colour is the sky?")
DEMONSTRATIONS: dict[str, tuple[dict[str, Any], str, Conversation]] = {
    # name: (row, name of the format, prompt); the completion is "Blue." throughout
    "TRL prompt-completion": (
        {"prompt": "What colour is the sky?", "completion": "Blue."},
        "prompt and completion",
        SKY,
    ),
    "TRL prompt-completion, conversational": (
        {"prompt": [ASKED], "completion": [said("Blue.")]},
        "prompt and completion",
        SKY,
    ),
    "TRL prompt-completion, prompt repeated": (
        {"prompt": [ASKED], "completion": [ASKED, said("Blue.")]},
        "prompt and completion",
        SKY,
    ),
    "TRL language modelling, conversational": ({"messages": [ASKED, said("Blue.")]}, "chat messages", SKY),
    "OpenAI fine-tuning": (
        {
            "messages": [
                {"role": "developer", "content": "Be short."},
                user("Hi"),
                said("Yes?", weight=0),
                {"role": "user", "content": [{"type": "text", "text": "What colour is the sky?"}]},
                said("Blue.", weight=1),
            ]
        },
        "chat messages",
        CHAT,
    ),
    "Alpaca": (
        {"instruction": "What colour is it?", "input": "the sky", "output": "Blue."},
        "Alpaca instructions",
        user_prompt("What colour is it?\n\nthe sky"),
    ),
    "Alpaca without input": (
        {"instruction": "What colour is the sky?", "input": "", "output": "Blue."},
        "Alpaca instructions",
        SKY,
    ),
    "Alpaca with system and history": (
        {
            "instruction": "What colour is the sky?",
            "output": "Blue.",
            "system": "Be short.",
            "history": [["Hi", "Yes?"]],
        },
        "Alpaca instructions",
        CHAT,
    ),
    "Dolly": (
        {"instruction": "What colour is it?", "context": "the sky", "response": "Blue.", "category": "qa"},
        "Alpaca instructions",
        user_prompt("What colour is it?\n\nthe sky"),
    ),
    "ShareGPT": (
        {
            "conversations": [
                {"from": "system", "value": "Be short."},
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Yes?"},
                {"from": "human", "value": "What colour is the sky?"},
                {"from": "gpt", "value": "Blue."},
            ]
        },
        "ShareGPT conversations",
        CHAT,
    ),
    "transcript in one text": (
        {"text": "\n\nHuman: What colour is the sky?\n\nAssistant: Blue."},
        "language modelling text",
        SKY,
    ),
    "transcript as the prompt": (
        {"prompt": "\n\nHuman: What colour is the sky?\n\nAssistant:", "response": "Blue."},
        "prompt and completion",
        SKY,
    ),
    "question and answer": ({"question": "What colour is the sky?", "answer": "Blue."}, "prompt and completion", SKY),
}


@pytest.mark.parametrize(("row", "name", "prompt"), DEMONSTRATIONS.values(), ids=DEMONSTRATIONS.keys())
def test_shapes_of_demonstrations(tmp_path: Path, row: dict[str, Any], name: str, prompt: Conversation) -> None:
    source = write(tmp_path, row)
    assert load(source).format.name == name
    (found,) = read_demonstrations(source)
    assert (found.id, found.prompt, found.completion, found.weight) == ("rows-1", prompt, "Blue.", 1.0)
    with pytest.raises(UserError, match="not preference pairs") as caught:
        read_preferences(source)
    assert source in str(caught.value)
    assert name in str(caught.value)


WEIGHTED: dict[str, tuple[list[dict[str, Any]], str, tuple[float, ...], float]] = {
    # name: (messages, trained answer, weights of earlier turns, its own weight)
    "none": ([ASKED, said("Blue."), user("Why?"), said("Air.")], "Air.", (), 1.0),
    "all": ([ASKED, said("Blue.", weight=0.5), user("Why?"), said("Air.", weight=2)], "Air.", (0.5,), 2.0),
    "one without counts 1": ([ASKED, said("Blue."), user("Why?"), said("Air.", weight=1)], "Air.", (1.0,), 1.0),
    "earlier ones are context": ([ASKED, said("Blue.", weight=0), user("Why?"), said("Air.")], "Air.", (), 1.0),
    "the last is left out": ([ASKED, said("Blue."), user("Why?"), said("Air.", weight=0)], "Blue.", (), 1.0),
    "LLaMA-Factory's": (
        [{**ASKED, "loss_weight": 0}, said("Blue.", loss_weight=0.5), user("Why?"), said("Air.", loss_weight=1)],
        "Air.",
        (0.5,),
        1.0,
    ),
    "a user's weight says nothing": ([{**ASKED, "weight": 0}, said("Blue.")], "Blue.", (), 1.0),
}


@pytest.mark.parametrize(("messages", "answer", "earlier", "weight"), WEIGHTED.values(), ids=WEIGHTED.keys())
def test_weights_of_messages(
    tmp_path: Path, messages: list[dict[str, Any]], answer: str, earlier: tuple[float, ...], weight: float
) -> None:
    row = {"messages": messages, "weight": 3, "finished": False}
    (found,) = read_demonstrations(write(tmp_path, row))
    assert (found.completion, found.weight, found.earlier_weights) == (
        answer,
        3 * weight,
        tuple(3 * one for one in earlier),
    )
    # What cut the conversation's end did not cut an earlier turn.
    assert found.finished == (answer != messages[-1]["content"])


PREFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "TRL, implicit prompt": ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, "preference pairs"),
    "OpenAI preference": (
        {
            "input": {"messages": [user("The sky is")], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [said(" blue.")],
            "non_preferred_output": [said(" green.")],
        },
        "OpenAI preference",
    ),
    "UltraFeedback binarised": (
        {
            "prompt": "The sky is",
            "prompt_id": "a1",
            # The whole chosen conversation once more: it must not be taken for the prompt.
            "messages": [user("The sky is"), said(" blue.")],
            "chosen": [user("The sky is"), said(" blue.")],
            "rejected": [user("The sky is"), said(" green.")],
            "score_chosen": 8.0,
            "score_rejected": 5.0,
        },
        "preference pairs",
    ),
    "ShareGPT with sides": (
        {
            "conversations": [{"from": "human", "value": "The sky is"}],
            "chosen": {"from": "gpt", "value": " blue."},
            "rejected": {"from": "gpt", "value": " green."},
        },
        "preference pairs",
    ),
    "two lists of messages": (
        {
            "chosen_messages": [
                {"role": "user", "content": [{"type": "text", "value": "The sky is"}], "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": " blue."}], "loss_weight": 1.0},
            ],
            "rejected_messages": [
                {"role": "user", "content": [{"type": "text", "value": "The sky is"}], "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": " green."}], "loss_weight": 1.0},
            ],
        },
        "preference pairs",
    ),
}


@pytest.mark.parametrize(("row", "name"), PREFERENCES.values(), ids=PREFERENCES.keys())
def test_shapes_of_preferences(tmp_path: Path, row: dict[str, Any], name: str) -> None:
    source = write(tmp_path, row)
    assert load(source).format.name == name
    (pair,) = read_preferences(source)
    assert (pair.id, pair.prompt, pair.chosen, pair.rejected) == (
        "rows-1",
        user_prompt("The sky is"),
        " blue.",
        " green.",
    )
    (imitated,) = read_demonstrations(source)
    assert (imitated.prompt, imitated.completion) == (user_prompt("The sky is"), " blue.")
    assert [(one.completion, one.desirable) for one in read_rated(source)] == [(" blue.", True), (" green.", False)]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        # A word that only begins alike is no part of the prompt.
        ("The sky is blue.", "The sky is black.", "The sky is"),
        ("One\ntwo three", "One\ntwo four", "One\ntwo"),
        ("The sky is", "The sky is green.", "The sky"),
    ],
)
def test_an_implicit_prompt_ends_at_a_whole_word(tmp_path: Path, chosen: str, rejected: str, prompt: str) -> None:
    (pair,) = read_preferences(write(tmp_path, {"chosen": chosen, "rejected": rejected}))
    assert pair.prompt == user_prompt(prompt)
    assert (prompt + pair.chosen, prompt + pair.rejected) == (chosen, rejected)


@pytest.mark.parametrize("label", [True, 1, 1.0, "true", "True", "1"])
def test_unpaired_preferences(tmp_path: Path, label: Any) -> None:
    bad = {True: False, "true": "false", "True": "False", "1": "0"}[label]
    rows = [
        {"prompt": "What colour is the sky?", "completion": "Blue.", "label": label},
        {"messages": [ASKED, said("Green.")], "label": bad},
    ]
    source = write(tmp_path, *rows)
    assert load(source).format.name == "unpaired preference"
    found = read_rated(source)
    assert [(one.prompt, one.completion, one.desirable) for one in found] == [
        (SKY, "Blue.", True),
        (SKY, "Green.", False),
    ]
    assert [one.completion for one in read_demonstrations(source)] == ["Blue."]


def helpsteer(response: str, helpfulness: int, prompt: str = "What colour is the sky?") -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "verbosity": 4 - helpfulness}


def test_helpsteer_scores_become_pairs_of_the_best_and_the_worst(tmp_path: Path) -> None:
    rows = [
        helpsteer("Blue.", 4), helpsteer("Green.", 1), helpsteer("Bluish.", 3),
        helpsteer("Same.", 2, "Other?"), helpsteer("Alike.", 2, "Other?"),
        helpsteer("Alone.", 3, "Third?"),
    ]  # fmt: skip
    source = write(tmp_path, *rows)
    assert load(source).format.name == "scored completions"
    found = read_scored(source)
    assert (found[0].prompt, found[0].completion, found[0].scores) == (SKY, "Blue.", {"helpfulness": 4, "verbosity": 0})
    assert len(found) == 6
    pairs, left = load(source).as_kind("preferences")
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs] == [(SKY, "Blue.", "Green.")]
    assert left == {
        "scored between the best and the worst of its prompt": 1,
        "all completions of its prompt have the same score": 2,
        "the only scored completion of its prompt": 1,
    }
    imitated, left = load(source).as_kind("demonstrations")
    assert [one.completion for one in imitated] == ["Blue.", "Same.", "Alone."]
    assert sum(left.values()) == 3


def ultrafeedback(*completions: tuple[str, str | float, float, float]) -> dict[str, Any]:
    return {
        "source": "evol_instruct",
        "instruction": "What colour is the sky?",
        "models": ["m"] * len(completions),
        "completions": [
            {
                "model": "m",
                "response": text,
                "annotations": {"helpfulness": {"Rating": rating, "Rationale": "…"}, "honesty": {"Rating": "N/A"}},
                "fine-grained_score": fine,
                "overall_score": overall,
            }
            for text, rating, fine, overall in completions
        ],
    }


def test_ultrafeedback_as_published_ranks_by_the_fine_grained_score(tmp_path: Path) -> None:
    # The overall score of the worst is the 10 that should be a 1, as in the published data.
    row = ultrafeedback(("Green.", "1", 1.0, 10.0), ("Blue.", "5", 4.75, 8.5), ("Bluish.", "4", 4.0, 7.0))
    source = write(tmp_path, row)
    assert load(source).format.name == "UltraFeedback completions"
    found = read_scored(source)
    assert [one.id for one in found] == ["rows-1-1", "rows-1-2", "rows-1-3"]
    assert found[1].scores == {"helpfulness": 5.0, "fine-grained_score": 4.75, "overall_score": 8.5}
    (pair,) = read_preferences(source)
    assert (pair.prompt, pair.chosen, pair.rejected) == (SKY, "Blue.", "Green.")


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a label that is a topic": ([{"prompt": "a", "completion": "b", "label": "weather"}], '"label" must be true'),
    "a score that is a word": ([{"prompt": "a", "response": "b", "helpfulness": "high"}], '"helpfulness" must be a'),
    "a score that is not finite": ([{"prompt": "a", "response": "b", "score": "nan"}], '"score" must be a number'),
    "an unknown role": ([{"messages": [{"role": "wizard", "content": "Hi"}]}], "needs a role"),
    "a message without a role": ([{"conversations": [{"value": "Hi"}]}], "needs a role"),
    "messages that are text": ([{"messages": "Hi"}], "list of messages"),
    "content that is a number": ([{"messages": [{"role": "user", "content": 3}, said("a")]}], "must be a string"),
    "a prompt that ends with the answer": ([{"prompt": [ASKED, said("a")], "completion": "b"}], "last message"),
    "a completion that answers another prompt": ([{"prompt": "a", "completion": [ASKED, said("b")]}], "one message"),
    "an empty prompt": ([{"prompt": " ", "completion": "b"}], "no prompt"),
    "an instruction without output": ([{"instruction": "a", "output": "b"}, {"instruction": "a"}], '"output"'),
    "OpenAI without the other side": ([{"input": {"messages": [ASKED]}, "preferred_output": [said("a")]}], "non_pref"),
    "OpenAI without messages": ([{"input": "Hi", "preferred_output": [said("a")]}], '"messages"'),
    "clauses that are text": ([{"prompt": "a", "completion": "b", "clauses": "x"}], '"clauses"'),
    "a weight that is a word": ([{"prompt": "a", "completion": "b", "weight": "heavy"}], '"weight"'),
    "a negative weight": ([{"prompt": "a", "completion": "b", "weight": -1}], '"weight"'),
    "a message's weight that is a word": ([{"messages": [ASKED, said("a", weight="x")]}], "weight"),
    "a history that is text": ([{"instruction": "a", "output": "b", "history": ["x"]}], '"history"'),
    "half a character": ([{"prompt": "a", "completion": "b \ud83d"}], "unpaired surrogate"),
    "UltraFeedback without a response": ([{"instruction": "a", "completions": [{"model": "m"}]}], '"response"'),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "says"), BAD.values(), ids=BAD.keys())
def test_a_malformed_row_stops_the_reading_and_is_named(tmp_path: Path, rows: list[dict[str, Any]], says: str) -> None:
    source = write(tmp_path, {"skipped": None, **rows[0]}, *rows[1:])
    with pytest.raises(UserError) as caught:
        load(source)
    assert str(caught.value).startswith(f"{source}, line {len(rows)}:")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


GOOD = {"messages": [ASKED, said("Blue.")]}
UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "ends with the user": ({"messages": [ASKED, said("Blue."), user("Thanks")]}, "ends without an assistant's turn"),
    "answers nobody": ({"messages": [said("Blue.")]}, "has no user's turn before the assistant's"),
    "last turn weighs nothing": ({"messages": [ASKED, said("Blue.", weight=0)]}, "weight 0"),
    "all turns weigh nothing": (
        {"messages": [ASKED, said("Blue.", weight=0), user("Why?"), said("Air.", weight=0)]},
        "weight 0",
    ),
    "a weighted greeting": ({"messages": [said("Hello.", weight=1), ASKED, said("Blue.")]}, "no user's turn before"),
    "tool calls": ({"messages": [ASKED, said("", tool_calls=[{"id": "1"}])]}, "tool calls"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, said("a")]}, "not text"),
}


@pytest.mark.parametrize(("row", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_row_without_anything_to_train_on_is_dropped_and_counted(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    loaded = load(write(tmp_path, GOOD, row, row))
    assert [record.id for record in loaded.records] == ["rows-1"]
    ((why, count),) = loaded.dropped.items()
    assert reason in why
    assert count == 2
    with pytest.raises(UserError, match=r"none of its 1 rows can be used .*line 1") as caught:
        read_demonstrations(write(tmp_path, row))
    assert reason in str(caught.value)


def test_pairs_without_a_shared_prompt_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    good = {"chosen": [ASKED, said("Blue.")], "rejected": [ASKED, said("Green.")]}
    loaded = load(write(tmp_path, good, {**good, "rejected": [user("Else?"), said("Green.")]}))
    assert len(loaded.records) == 1
    assert loaded.dropped == {"chosen and rejected share no prompt that both answer": 1}


def test_pairs_that_nobody_answers_are_counted(tmp_path: Path) -> None:
    good = {"chosen": "\n\nHuman: Hi\n\nAssistant: Yes?", "rejected": "\n\nHuman: Hi\n\nAssistant: No."}
    loaded = load(write(tmp_path, good, {**good, "rejected": "\n\nHuman: Hi"}, {**good, "chosen": [user("Hi")]}))
    assert len(loaded.records) == 1
    assert loaded.dropped == {"chosen or rejected does not end with an assistant's answer to a prompt": 2}


def test_empty_and_equal_sides_are_read_for_training_to_count(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": ""}, {"prompt": "a", "chosen": "b", "rejected": "b"}]
    assert [(pair.chosen, pair.rejected) for pair in read_preferences(write(tmp_path, *rows))] == [
        ("b", ""),
        ("b", "b"),
    ]


def test_a_format_is_told_by_the_whole_file(tmp_path: Path) -> None:
    # The first row alone would be a pair without a prompt of its own; the file is what its columns say together.
    rows = [{"prompt": "a", "completion": "b", "label": None}, {"prompt": "a", "completion": "c", "label": True}]
    with pytest.raises(UserError, match='mixes formats: line 2 is "unpaired') as caught:
        load(write(tmp_path, *rows))
    assert 'line 1 is "prompt and completion" (columns completion, prompt)' in str(caught.value)


@pytest.mark.parametrize("swap", [False, True])
def test_rows_of_different_formats_are_an_error_that_names_both(tmp_path: Path, swap: bool) -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"instruction": "a", "output": "b"}]
    source = write(tmp_path, *(reversed(rows) if swap else rows))
    with pytest.raises(UserError) as caught:
        load(source)
    for part in (source, "mixes formats", "line 1", "line 2", "preference pairs", "Alpaca instructions", "split it"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_of_no_format_say_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no format known here \(its columns: goal, target\)") as caught:
        load(write(tmp_path, {"goal": "a", "target": "b"}))
    assert '"chosen"' in str(caught.value)


@pytest.mark.parametrize("row", [{"prompt": "a"}, {"text": "Once upon a time."}])
def test_what_no_method_reads_is_said(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"rows"):
        read_demonstrations(write(tmp_path, row))
    assert load(write(tmp_path, row)).records == []


def test_what_is_left_out_is_logged_when_nobody_counts_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write(tmp_path, GOOD, {"messages": [ASKED]})
    read_demonstrations(source)
    assert "ends without an assistant's turn: 1" in caplog.text


def rows_in(block: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a block of the docs, where a long one is broken into lines."""
    while block := block.lstrip():
        row, end = json.JSONDecoder().raw_decode(block)
        yield row
        block = block[end:]


def test_the_examples_of_the_docs_are_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    blocks = [block for block in text.split("\n\n") if block.startswith("    {")]
    whole = [row for block in blocks if "…" not in block for row in rows_in(block)]
    kinds = set()
    for row in whole:
        loaded = load(write(tmp_path, row))
        assert loaded.records or loaded.dropped == {"plain text, without a prompt and an answer": 1}
        kinds.add(loaded.format.kind)
    assert len(whole) > 12
    assert kinds == {"preferences", "demonstrations", "ratings", "scored", "stepwise"}
