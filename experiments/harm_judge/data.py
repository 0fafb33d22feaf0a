"""Training and measuring rows of the harm judge, read from the data folder that the caller names.

Nothing of the data sets is copied into the project. Which labels each source gives, and what is left out, stands in the
card beside the weights (`src/charter/judges/weights/harm.md`).
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

csv.field_size_limit(sys.maxsize)
PAIRS = Path(__file__).parent.parent.parent / "src/charter/feedback/data/pairs.jsonl"


class Row(NamedTuple):
    """A labelled exchange; `group` keeps rows of one prompt on one side of a split."""

    prompt: str
    completion: str
    harmful: bool
    source: str

    @property
    def group(self) -> str:
        return f"{self.source}:{self.prompt}"


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        return list(csv.DictReader(lines))


def _first_half(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 0


def gptfuzz(folder: Path) -> list[Row]:
    """Replies to harmful questions inside jailbreak templates: 1 (jailbroken), set by people, is harmful.

    The prompt is the bare question. Only the source's train split is read: the other is left for measuring.
    """
    questions = {row["index"]: row["text"] for row in _csv(folder / "gptfuzz/question_list.csv")}
    found = {
        (questions[row["question"]], row["Response"].strip()): row["label"] == "1"
        for row in _csv(folder / "gptfuzz/responses_labeled_train.csv")
        if row["Response"].strip()
    }
    return [Row(prompt, text, harmful, "gptfuzz") for (prompt, text), harmful in found.items()]


def openai_rbr(folder: Path) -> list[Row]:
    """Replies with people's proposition "disallowed content"; those that do not follow the prompt are left out."""
    rows = []
    for row in _jsonl(folder / "openai-rbr/train.jsonl"):
        what, text = row["propositions"], row["completion"][0]["content"].strip()
        if text and not what["illogical_continuation_of_prompt"]:
            rows.append(Row(row["prompt"][-1]["content"], text, bool(what["disallowed_content"]), "openai-rbr"))
    return rows


def xstest(folder: Path) -> dict[str, list[Row]]:
    """XSTest v2 completions by model, with people's labels. For measuring only.

    A full compliance with an unsafe prompt is harmful; refusals, and whatever is said to a safe prompt, are not.
    Partial refusals of unsafe prompts are left out: their labels do not say what was delivered.
    """
    found = {}
    for model in ("llama2orig", "llama2new", "mistralinstruct"):
        rows = []
        for row in _csv(folder / f"xstest/xstest_v2_completions_{model}.csv"):
            unsafe, label = row["type"].startswith("contrast"), row["final_label"]
            if row["completion"].strip() and not (unsafe and label == "3_partial_refusal"):
                harmful = unsafe and label == "1_full_compliance"
                rows.append(Row(row["prompt"], row["completion"].strip(), harmful, f"xstest {model}"))
        found[model] = rows
    return found


def harmless(folder: Path) -> list[Row]:
    """Answers to harmless requests, and refusals of these, from CoCoNot's contrast pairs and UltraFeedback."""
    rows = []
    for row in list(_jsonl(folder / "coconot-pref/coconot_pref.jsonl"))[:400]:
        side = "chosen" if _first_half(row["prompt"]) else "rejected"
        if (row.get(side) or "").strip():
            rows.append(Row(row["prompt"], row[side].strip(), False, "coconot"))
    for row in list(_jsonl(folder / "ultrafeedback-sample/train_clean.jsonl"))[:200]:
        if row["chosen"].strip():
            rows.append(Row(row["prompt"], row["chosen"].strip(), False, "ultrafeedback"))
    return rows


def built_in_pairs() -> list[Row]:
    """The chosen sides of half of the built-in preference pairs: refusals and harmless answers."""
    return [
        Row(row["prompt"], row["chosen"], False, "pairs")
        for row in _jsonl(PAIRS)
        if _first_half(row["prompt"]) and row["chosen"]
    ]


def training_rows(folder: Path) -> list[Row]:
    """All rows that train: of GPTFuzz's replies that were not jailbroken, as many as were."""
    fuzz = gptfuzz(folder)
    delivered = [row for row in fuzz if row.harmful]
    rest = random.Random(0).sample([row for row in fuzz if not row.harmful], len(delivered))
    return [*delivered, *rest, *openai_rbr(folder), *harmless(folder), *built_in_pairs()]


def requests(folder: Path) -> list[tuple[str, bool, str]]:
    """(request, asks for harm, source): lists of requests whose source says what they are. No exchange's own source."""
    found: list[tuple[str, bool, str]] = []
    found += [(row["goal"], True, "advbench") for row in _csv(folder / "advbench/harmful_behaviors.csv")]
    found += [
        (text, True, "catqa") for text in _texts(json.loads(_read(folder / "harmfulqa-catqa/catqa_english.json")))
    ]
    asked = _texts(json.loads(_read(folder / "harmfulqa-catqa/harmfulqa.json")))
    found += [(text, True, "harmfulqa") for text in random.Random(1).sample(asked, min(700, len(asked)))]
    found += [(row["prompt"], False, "coconot") for row in _jsonl(folder / "coconot-pref/coconot_pref.jsonl")]
    found += [
        (row["prompt"], False, "ultrafeedback")
        for row in list(_jsonl(folder / "ultrafeedback-sample/train_clean.jsonl"))[500:1000]
    ]
    for name in ("codegen-instruct", "roleplay-simple-deduped-roleplay-instruct"):
        rows = json.loads(_read(folder / f"gpteacher/{name}.json"))
        found += [(row["instruction"], False, "gpteacher") for row in random.Random(2).sample(rows, 200)]
    found += [(row["prompt"], row["kind"] == "harmful", "pairs") for row in _jsonl(PAIRS) if _first_half(row["prompt"])]
    return [row for row in found if row[0].strip()]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _texts(value: Any) -> list[str]:
    """Every text in nested lists and mappings that ends as a question or a request does."""
    if isinstance(value, str):
        return [value.strip()] if len(value.split()) > 3 else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]
