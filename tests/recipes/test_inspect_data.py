"""What `inspect_data` counts, against numbers worked out by hand: the tiny model has a token a byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.evaluation import load_suite
from charter.recipes.inspect_data import Inspection, Weights, inspect_data
from charter.recipes.lengths import Bin, length_bias, lengths_of

# ChatML around one question: <|im_start|> user \n … <|im_end|> \n <|im_start|> assistant \n
AROUND = 1 + 5 + 1 + 1 + 1 + 10


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


PAIRS = [
    {"prompt": "a" * 10, "chosen": "b" * 19, "rejected": "c" * 9},
    {"prompt": "a" * 10, "chosen": "b" * 29, "rejected": "c" * 9},
    {"prompt": "d" * 10, "chosen": "b" * 9, "rejected": "c" * 19},
    {"prompt": "e" * 10, "chosen": "same", "rejected": "same "},
    {"prompt": "f" * 10, "chosen": "b", "rejected": ""},
    {"prompt": "a" * 10, "chosen": "b" * 19, "rejected": "c" * 9},
]


def inspect(folder: Path, base: Path, *rows: dict[str, Any], budget: int = 1024, **more: Any) -> Inspection:
    return inspect_data(write(folder, *rows), str(base), budget, **more)


def test_lengths_duplicates_and_drops_of_pairs(tmp_path: Path, tiny_base: Path) -> None:
    budget = AROUND + 10 + 20 + 10  # the second pair is ten tokens longer
    found = inspect(tmp_path, tiny_base, *PAIRS, budget=budget)
    assert (found.format, found.style, found.rows) == ("preference pairs", "strings", 6)
    assert found.drops == {f"longer than {budget} tokens": 1, "chosen equals rejected": 1, "empty completion": 1}
    use = found.records["preferences"]
    assert (use.records, use.usable) == (6, 3)
    assert sum(use.dropped.values()) == use.records - use.usable
    # Alone, the chosen sides all fit.
    assert found.records["demonstrations"].usable == 6
    assert found.records["ratings"].records == 12
    assert (found.lengths["prompt"].min, found.lengths["prompt"].max) == (AROUND + 10, AROUND + 10)
    assert (found.lengths["chosen"].min, found.lengths["chosen"].max) == (2, 30)
    assert found.lengths["row"].max == AROUND + 10 + 30 + 10
    repeated = found.duplicates
    assert (repeated.exact_rows, repeated.prompts, repeated.rows_sharing_a_prompt) == (1, 4, 3)
    assert found.length_bias is not None
    # Longer in four (the empty one included), shorter in two ("same " has one more).
    assert (found.length_bias.n, found.length_bias.chosen_longer) == (6, pytest.approx(4 / 6))


def test_the_example_is_what_the_model_sees(tmp_path: Path, tiny_base: Path) -> None:
    found = inspect(tmp_path, tiny_base, PAIRS[0])
    assert found.example == {
        "prompt": f"<|im_start|>user\n{'a' * 10}<|im_end|>\n<|im_start|>assistant\n",
        "chosen": "b" * 19 + "<|im_end|>",
        "rejected": "c" * 9 + "<|im_end|>",
    }


def test_rows_that_a_suite_measures_are_named(tmp_path: Path, tiny_base: Path) -> None:
    asked = load_suite("knowledge")[3].prompt
    rows = [
        {"id": "mine", "prompt": asked.upper(), "completion": "x"},
        {"prompt": "Sing of quiet rain", "completion": "y"},
    ]
    found = inspect(tmp_path, tiny_base, *rows, suites=["knowledge", "harmful_requests"])
    assert (found.overlaps["knowledge"].rows, found.overlaps["knowledge"].first) == (1, ("mine",))
    assert found.overlaps["harmful_requests"].rows == 0
    with pytest.raises(UserError, match='Did you mean "knowledge"'):
        inspect(tmp_path, tiny_base, *rows, suites=["knowlege"])


def test_near_duplicate_rows_are_counted_once_each(tmp_path: Path, tiny_base: Path) -> None:
    text = "the quick brown fox jumps over the lazy dog while seven other animals watch it from the hill in silence"
    rows = [{"prompt": "Go on", "completion": f"{text} {end}"} for end in ("today", "tonight", "tomorrow")]
    found = inspect(tmp_path, tiny_base, *rows, {"prompt": "Go on", "completion": "Something else altogether, then."})
    assert (found.duplicates.exact_rows, found.duplicates.near_rows, found.duplicates.searched) == (0, 2, 4)


def test_scores_are_told_and_paired(tmp_path: Path, tiny_base: Path) -> None:
    rows = [{"prompt": "a", "response": "x" * n, "helpfulness": n} for n in (1, 2, 3)]
    found = inspect(tmp_path, tiny_base, *rows)
    assert {kind: (use.records, use.usable) for kind, use in found.records.items()} == {
        "scored": (3, 3), "preferences": (1, 1), "demonstrations": (1, 1),
    }  # fmt: skip
    assert found.length_bias is not None
    assert found.length_bias.chosen_longer == 1.0
    assert "helpfulness" in " ".join(found.notes)


def test_only_the_last_turn_is_trained_and_that_is_said(tmp_path: Path, tiny_base: Path) -> None:
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    found = inspect(tmp_path, tiny_base, {"messages": turns}, {"messages": turns[:2]}, {"messages": turns[:3]})
    assert found.notes == [
        "1 of 2 prompts hold earlier assistant turns. They are read, not trained: only the last turn is. Give the "
        "messages weights to have sft train them."
    ]
    assert found.drops == {"ends without an assistant's turn": 1}


def test_weights_of_messages_are_told(tmp_path: Path, tiny_base: Path) -> None:
    def said(text: str, **more: Any) -> dict[str, Any]:
        return {"role": "assistant", "content": text, **more}

    asked = {"role": "user", "content": "Hi"}
    rows = [
        {"messages": [asked, said("a", weight=0), asked, said("b", weight=1), asked, said("c", weight=0.5)]},
        {"messages": [asked, said("a", weight=1), asked, said("b", weight=1), asked, said("c", weight=0)]},
        {"messages": [asked, said("a")]},
    ]
    found = inspect(tmp_path, tiny_base, *rows)
    assert found.weights == Weights(2, {"0": 1, "0.5": 1, "1": 4})
    assert (found.records["demonstrations"].usable, found.notes) == (3, [])
    assert inspect(tmp_path, tiny_base, rows[-1]).weights is None


def test_a_template_that_refuses_a_row_is_told_where(tmp_path: Path, tiny_base: Path) -> None:
    from tiny import CHATML, byte_tokenizer

    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    byte_tokenizer(refuses + CHATML, eos_token="<|im_end|>").save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_bytes((tiny_base / "config.json").read_bytes())
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "b", "system": "Be short."}]
    found = inspect(tmp_path, tmp_path / "model", *rows)
    assert found.drops == {"the chat template refuses the conversation": 1}
    assert "no system turns" in found.notes[-1]
    assert "line 2" in found.notes[-1]


@pytest.mark.parametrize("row", [{"prompt": "a"}, {"text": "Once upon a time."}])
def test_what_gives_no_records_is_still_described(tmp_path: Path, tiny_base: Path, row: dict[str, Any]) -> None:
    found = inspect(tmp_path, tiny_base, row, row)
    assert (found.rows, found.example, found.length_bias, found.lengths) == (2, None, None, {})
    assert all(use.usable == 0 for use in found.records.values())
    json.dumps(found.as_json())


def test_a_model_without_a_tokenizer_here(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="endpoint"):
        inspect(tmp_path, Path("openai:http://127.0.0.1:9/v1#m"), PAIRS[0])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds no tokenizer"):
        inspect(tmp_path, tmp_path / "model", PAIRS[0])


def test_histogram_bins_double_and_hold_every_length() -> None:
    (found,) = lengths_of([{"prompt": n} for n in (16, 17, 32, 33, 200)]).values()
    assert found.histogram == (Bin(0, 16, 1), Bin(17, 32, 2), Bin(33, 64, 1), Bin(65, 128, 0), Bin(129, 256, 1))
    assert (found.n, found.min, found.median, found.max) == (5, 16, 32.0, 200)
    (late,) = lengths_of([{"prompt": 100}]).values()
    assert late.histogram == (Bin(65, 128, 1),)


def test_pairs_of_equal_length_have_no_bias() -> None:
    assert length_bias([{"prompt": 1, "chosen": 3, "rejected": 3}, {}]) is None
