"""Real public files in the shapes their makers publish; skipped where they are not at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.feedback.formats import load

DATA = Path(__file__).parents[3] / "shared" / "data"
PAIRS = "preference pairs", "preferences"
ALPACA = "Alpaca instructions", "demonstrations"
ANSWERS = "prompt and completion", "demonstrations"
CHAT = "chat messages", "demonstrations"
FILES = {
    # file: ((format, its own kind of record), how the texts are written, rows)
    "hh-rlhf-harmless/dev.jsonl": (PAIRS, "transcripts", 1500),
    "ultrafeedback-sample/train_clean.jsonl": (PAIRS, "strings", 1000),
    "coconot-pref/coconot_pref.jsonl": (PAIRS, "strings", 927),
    "llamafactory-demos/dpo_en_demo.json": (PAIRS, "messages", 300),
    "llamafactory-demos/v1_dpo_demo.jsonl": (PAIRS, "messages", 10),
    "llamafactory-demos/kto_en_demo.json": (("unpaired preference", "ratings"), "messages", 300),
    "llamafactory-demos/v1_sft_demo.jsonl": (CHAT, "messages", 500),
    "llamafactory-demos/identity.json": (ALPACA, "strings", 91),
    "gpteacher/roleplay-simple-deduped-roleplay-instruct.json": (ALPACA, "strings", 1923),
    "finetuning-safety/databricks-dolly-15k-safety-only.jsonl": (ALPACA, "strings", 387),
    "finetuning-safety/identity-shift-aoa.jsonl": (CHAT, "messages", 10),
    "openai-rbr/train.jsonl": (ANSWERS, "messages", 351),
    "xstest/xstest_v2_completions_llama2new.csv": (ANSWERS, "strings", 450),
    "gsm8k/train-3000.jsonl": (ANSWERS, "strings", 3000),
}


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not at hand")
    return DATA / name


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_is_read_whole(name: str) -> None:
    loaded = load(str(real(name)))
    assert ((loaded.format.name, loaded.format.kind), loaded.style, loaded.rows) == FILES[name]
    assert not loaded.dropped
    assert len({record.id for record in loaded.records}) == loaded.rows
    for record in loaded.records:
        assert record.prompt[-1].role == "user"
        assert record.prompt[-1].content.strip()


def test_ratings_of_a_published_file_keep_both_verdicts() -> None:
    loaded = load(str(real("llamafactory-demos/kto_en_demo.json")))
    rated, _ = loaded.as_kind("ratings")
    assert sum(one.desirable for one in rated) == 150
    imitated, left = loaded.as_kind("demonstrations")
    assert len(imitated) == left["undesirable completion"] == 150
