"""`charter generate` as a script would call it, on a tiny model saved to disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama over bytes, with a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes))
    made = tmp_path_factory.mktemp("model")
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    return made


def charter(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "charter.cli.main", "generate", *arguments],
        input=given,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


ROWS = [
    {"id": "b", "prompt": "Where do rivers end?", "label": {"kept": True}},
    {"id": "a", "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]},
    {"id": "long", "prompt": "x" * 300},
]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_rows_come_back_in_order_with_their_fields(folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "new" / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = charter(
        "--model", str(folder), "--in", str(source), "--out", str(target),
        "--max-tokens", "7", "--temperature", "0.9", "--n", "2", "--seed", "5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "completions" in done.stderr
    out = lines(target.read_text())
    assert [{k: v for k, v in row.items() if k not in ("completions", "unscored")} for row in out] == ROWS
    for row in out[:2]:
        assert len(row["completions"]) == 2
        for one in row["completions"]:
            assert set(one) == {"text", "tokens", "logprob", "finish"}
            assert 1 <= len(one["tokens"]) <= 7
            assert one["logprob"] < 0
            assert one["finish"] in ("stop", "length")
    assert "128" in out[2]["unscored"]
    assert out[2]["completions"][0]["finish"] == "error"
    piped = charter(
        "--model", str(folder), "--in", "-", "--out", "-", "--max-tokens", "7", "--temperature", "0.9", "--n", "2",
        "--seed", "5", given=source.read_text(),
    )  # fmt: skip
    assert lines(piped.stdout) == out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no rows"),
        ('{"id": "a", "prompt": "x"}\n{"id": "b"\n', "line 2"),
        ('{"id": "a"}\n', "line 1"),
        ('{"prompt": "x"}\n', '"id"'),
    ],
)
def test_bad_input_is_one_paragraph_and_nothing_written(folder: Path, tmp_path: Path, content: str, says: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(content)
    done = charter("--model", str(folder), "--in", str(source), "--out", str(target))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()
