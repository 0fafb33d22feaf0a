"""`charter logprobs` against a plain transformers forward of each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import charter, forked, paragraph, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from charter.models.loading import best_dtype

ROWS: list[dict[str, Any]] = [
    {"id": "b", "prompt": "Where do rivers end?", "completion": "In the sea.", "note": {"kept": 1}},
    {"id": "long", "prompt": "x" * 600, "completion": "No."},
    {"id": "a", "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
     "completion": "Héllo"},
    {"id": "again", "prompt": "Where do rivers end?", "completion": ""},
]  # fmt: skip


def plain(base: Path, row: dict[str, Any]) -> tuple[list[int], list[float]]:
    """The row alone through transformers: the ChatML text written out by hand, every token's log-prob."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(base))
    model: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=best_dtype())
    messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
    head = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages) + "<|im_start|>assistant\n"
    prompt, said = (tokenizer(text)["input_ids"] for text in (head, row["completion"] + "<|im_end|>"))
    with torch.no_grad():
        logits = model(torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1].float()
    return said, logits.log_softmax(-1)[range(len(said)), said].tolist()


def test_equals_a_plain_forward(tmp_path: Path, tiny_base: Path) -> None:
    source, target = write_rows(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    done = charter("logprobs", "--model", tiny_base, "--in", source, "--out", target)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    out = [json.loads(line) for line in target.read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k in given} for row, given in zip(out, ROWS, strict=True)] == ROWS
    # bf16 keeps 8 bits: of the two sums a rounding apart, the logits (of size 1 here) differ by some 2^-7.
    tolerance = 1e-4 if best_dtype() == torch.float32 else 0.03
    for row, given in zip(out, ROWS, strict=True):
        if given["id"] == "long":
            assert "512" in row["unscored"]
            assert not {"logprob", "tokens", "token_logprobs"} & set(row)
            continue
        tokens, logprobs = plain(tiny_base, given)
        assert row["tokens"] == tokens
        assert row["token_logprobs"] == pytest.approx(logprobs, abs=tolerance)
        assert row["logprob"] == pytest.approx(sum(row["token_logprobs"]))
        assert "unscored" not in row


def test_standard_streams(tiny_base: Path) -> None:
    done = charter("logprobs", "--model", tiny_base, "--in", "-", "--out", "-", input=json.dumps(ROWS[0]) + "\n")
    assert done.returncode == 0, done.stderr
    (row,) = (json.loads(line) for line in done.stdout.splitlines())
    assert row["id"] == "b"
    assert row["logprob"] < 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": 1, "prompt": "Hi"}, "completion"),
        ({"id": 1, "completion": "Hi"}, "prompt"),
        ({"prompt": "Hi", "completion": "x"}, '"id"'),
    ],
)
def test_a_wrong_row_is_two_and_names_its_line(tmp_path: Path, tiny_base: Path, row: dict[str, Any], says: str) -> None:
    source = write_rows(tmp_path / "in.jsonl", [ROWS[0], row])
    arguments = ["--model", tiny_base, "--in", source, "--out", tmp_path / "out.jsonl"]
    done = forked("logprobs", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    said = paragraph(done)
    assert "in.jsonl, line 2" in said
    assert says in said
    assert not (tmp_path / "out.jsonl").exists()


def test_an_endpoint_has_no_weights(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", ROWS[:1])
    arguments = ["--model", "openai:http://127.0.0.1:9/v1#m", "--in", source, "--out", "-"]
    done = forked("logprobs", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "endpoint" in paragraph(done)
