"""`charter train reward` and `charter reward score`, against a plain transformers forward of each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import charter, forked, pairs, paragraph, write_rows
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from charter.models.loading import best_dtype
from charter.models.reward_head import new_head

ROWS: list[dict[str, Any]] = [
    {"id": "b", "prompt": "Where do rivers end?", "completion": "In the sea.", "note": {"kept": 1}},
    {"id": "long", "prompt": "x" * 600, "completion": "No."},
    {"id": "a", "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
     "completion": "Héllo"},
    {"id": "again", "prompt": "Where do rivers end?", "completion": ""},
]  # fmt: skip


@pytest.fixture(scope="module")
def reward_model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model whose body is untouched, so that transformers can say what its rewards are."""
    folder = tmp_path_factory.mktemp("rm") / "model"
    model: Any = AutoModelForCausalLM.from_pretrained(str(tiny_base))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(tiny_base)).save_pretrained(folder)
    new_head(model.config.hidden_size, 2, 3, "reward", bias=False).save(folder)
    return folder


def plain(folder: Path, row: dict[str, Any]) -> list[float]:
    """The row alone: the ChatML text written out by hand, both heads at its end-of-turn token."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=best_dtype())
    messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    ids = tokenizer(text + "<|im_start|>assistant\n" + row["completion"] + "<|im_end|>")["input_ids"]
    with torch.no_grad():
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0, -1].float()
    return (load_file(folder / "reward_head.safetensors")["weight"] @ hidden).tolist()


def test_equals_a_plain_forward(tmp_path: Path, reward_model: Path) -> None:
    source, target = write_rows(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    done = charter("reward", "score", "--model", reward_model, "--in", source, "--out", target)
    assert done.returncode == 0, done.stderr
    assert "3 rows scored, 1 unscored" in done.stderr
    assert "rewards: " in done.stderr
    out = [json.loads(line) for line in target.read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k in given} for row, given in zip(out, ROWS, strict=True)] == ROWS
    tolerance = 1e-4 if best_dtype() == torch.float32 else 0.05
    for row, given in zip(out, ROWS, strict=True):
        if given["id"] == "long":
            assert "512" in row["unscored"]
            assert not {"reward", "heads"} & set(row)
            continue
        assert row["heads"] == pytest.approx(plain(reward_model, given), abs=tolerance)
        assert row["reward"] == pytest.approx(sum(row["heads"]) / 2, abs=1e-6)


def test_reads_of_an_ensemble(tmp_path: Path, reward_model: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", ROWS[:1])
    line = ["reward", "score", "--model", reward_model, "--in", source, "--out", "-"]
    (worst,) = (json.loads(x) for x in forked(*line, "--read", "worst", cwd=tmp_path).stdout.splitlines())
    assert worst["reward"] == min(worst["heads"])
    done = forked(*line, "--read", "penalised", "--penalty", "2", cwd=tmp_path)
    (penalised,) = (json.loads(x) for x in done.stdout.splitlines())
    spread = abs(worst["heads"][0] - worst["heads"][1]) / 2
    assert penalised["reward"] == pytest.approx(sum(worst["heads"]) / 2 - 2 * spread, abs=1e-5)


def test_an_option_that_would_do_nothing_is_refused(tmp_path: Path, reward_model: Path, tiny_base: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", ROWS[:1])
    for more, says in [
        (["--model", reward_model, "--penalty", "2"], "--read penalised"),
        (["--model", reward_model, "--read", "best"], "none of mean, worst, penalised"),
        (["--model", tiny_base], "not a reward model"),
    ]:
        done = forked("reward", "score", *more, "--in", source, "--out", "-", cwd=tmp_path)
        assert done.returncode == 2
        assert says in paragraph(done)


def test_train_then_score(tmp_path: Path, tiny_base: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(6))
    config = tmp_path / "how.yaml"
    config.write_text("epochs: 6\nbatch_size: 3\nlearning_rate: 1e-2\nlora: {r: 4}\n")
    run = tmp_path / "run"
    arguments = ["--model", tiny_base, "--data", data, "--out", run, "--config", config]
    done = forked("train", "reward", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sides = [
        {"id": f"{side} {i}", "prompt": pair["prompt"], "completion": pair[side]}
        for i, pair in enumerate(pairs(6))
        for side in ("chosen", "rejected")
    ]
    source = write_rows(tmp_path / "in.jsonl", sides)
    done = forked("reward", "score", "--model", run / "model", "--in", source, "--out", "-", cwd=tmp_path)
    rewards = [json.loads(line)["reward"] for line in done.stdout.splitlines()]
    assert all(chosen > rejected for chosen, rejected in zip(rewards[0::2], rewards[1::2], strict=True))


def test_a_process_model_scores_every_step(tmp_path: Path, tiny_base: Path) -> None:
    steps = [
        {"prompt": f"What is {i}?", "completions": ["Let us see", f"it is {i}"], "labels": [True, i % 2 == 0]}
        for i in range(6)
    ]
    data = write_rows(tmp_path / "steps.jsonl", steps)
    config = tmp_path / "how.yaml"
    config.write_text("whole: product\nlora: {r: 4}\n")
    arguments = ["--model", tiny_base, "--data", data, "--out", tmp_path / "run", "--config", config]
    assert forked("train", "reward_process", *arguments, cwd=tmp_path).returncode == 0
    asked = [
        {"id": "two", "prompt": "What is 3?", "completion": "Let us see\nit is 3\n"},
        {"id": "one", "prompt": "What is 3?", "completion": "Let us see"},
        {"id": "none", "prompt": "What is 3?", "completion": ""},
    ]
    source = write_rows(tmp_path / "in.jsonl", asked)
    line = ["reward", "score", "--model", tmp_path / "run" / "model", "--in", source, "--out", "-"]
    two, one, none = (json.loads(x) for x in forked(*line, cwd=tmp_path).stdout.splitlines())
    assert len(two["steps"]) == 2
    assert two["reward"] == pytest.approx(two["steps"][0] * two["steps"][1])
    # A step's score is the same whatever follows.
    assert one["steps"] == pytest.approx(two["steps"][:1], abs=1e-4 if best_dtype() == torch.float32 else 0.02)
    assert none == {**asked[2], "unscored": "the completion has no step"}


def test_audit(tmp_path: Path, reward_model: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", [*pairs(6), {"prompt": "x" * 600, "chosen": "a", "rejected": "b"}])
    line = ["reward", "audit", "--model", reward_model, "--in", source]
    done = forked(*line, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["pairs"], sum(found["unscored"].values())) == (7, 1)
    assert found["accuracy"][0]["n"] == 6
    assert [probe["preferred"]["name"] for probe in found["probes"]] == ["agreement", "formatting", "padding"]
    shown = forked(*line, cwd=tmp_path).stdout
    assert "Brier score" in shown
    assert "unscored 1" in shown
