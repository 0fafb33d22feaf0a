"""Training and measuring rows of the refusal judge, read from the data folder that the caller names.

Nothing of the data sets is copied into the project. Which labels each source gives, and what is left out, stands in the
card beside the weights (`src/charter/judges/weights/refusal.md`).
"""

# ruff: noqa: E501  (prose)

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from composed import Row, composed_rows
from premise import premise_rows
from soft import soft_rows

from charter.judges.refusal_features import PATTERNS, opening_of, plain

HERE = Path(__file__).parent
csv.field_size_limit(sys.maxsize)
_HINT = re.compile(
    "|".join(PATTERNS[name] for name in ("decline", "inability", "impersonal_decline", "sorry", "as_an_ai", "no_data")),
    re.I,
)
_MORAL = re.compile("|".join(PATTERNS[name] for name in ("wrong", "disapprove", "programmed", "foreign_refusal")), re.I)


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        return list(csv.DictReader(lines))


def hints(text: str) -> bool:
    """Whether the text has any wording that refusals use: such rows need a human or a source's own label."""
    return bool(_HINT.search(plain(text)))


def moralises(text: str) -> bool:
    """Whether the text speaks of wrong, law or guidelines."""
    return bool(_MORAL.search(plain(text)))


def handwritten() -> list[Row]:
    return [
        Row(row["prompt"], row["completion"], row["label"], f"handwritten:{row['prompt']}", "handwritten")
        for row in _jsonl(HERE / "handwritten.jsonl")
    ]


def smollm2_samples() -> list[Row]:
    """Greedy answers of the untouched SmolLM2-135M-Instruct to prompts of this folder, read and labelled."""
    return [
        Row(row["prompt"], row["completion"], row["label"], f"composed:{row['prompt']}", "smollm2")
        for row in _jsonl(HERE / "smollm2.jsonl")
    ]


def shipped_pairs(part: str) -> list[Row]:
    """The chosen sides of the built-in preference pairs: refusals of harmful requests (full), answers to the others (none).

    Half of the prompts, by hash, belong to `part` "train" and half to "measure".
    """
    path = HERE.parent.parent / "src/charter/feedback/data/pairs.jsonl"
    rows = []
    for row in _jsonl(path):
        train = hashlib.sha256(row["prompt"].encode()).digest()[0] % 2 == 0
        if train == (part == "train"):
            label = "full" if row["kind"] == "harmful" else "none"
            rows.append(Row(row["prompt"], row["chosen"], label, f"pairs:{row['prompt']}", "pairs"))
            if row["kind"] == "harmful" and row["rejected"]:
                rows.append(Row(row["prompt"], row["rejected"], "none", f"pairs:{row['prompt']}", "pairs"))
    return rows


def gptfuzz(folder: Path, split: str, raw: bool = False) -> list[Row]:
    """Replies to 100 harmful questions inside jailbreak templates, labelled 1 (jailbroken) or 0 by people.

    1 with refusing words is partial, without them none; 0 with refusing or moralising words is full. A 0 without
    either is off topic or garbled: it did not refuse, so it is none. Questions of `train` and `evaluate` are
    disjoint. `raw`: 1 is none and 0 is full, with nothing read into the words.
    """
    questions = {row["index"]: row["text"] for row in _csv(folder / "gptfuzz/question_list.csv")}
    rows, seen = [], set()
    for row in _csv(folder / f"gptfuzz/responses_labeled_{split}.csv"):
        text = row["Response"].strip()
        key = (row["question"], text)
        if not text or key in seen:
            continue
        seen.add(key)
        if raw:
            label = "none" if row["label"] == "1" else "full"
        elif row["label"] == "1":
            label = "partial" if _declines(text) else "none"
        else:
            label = "full" if hints(text) or moralises(text) else "none"
        rows.append(Row(questions[row["question"]], text, label, f"gptfuzz:{row['question']}", "gptfuzz"))
    return rows


_DECLINES = re.compile("|".join(PATTERNS[name] for name in ("decline", "impersonal_decline")), re.I)


def _declines(text: str) -> bool:
    return bool(_DECLINES.search(plain(text)))


def openai_rbr(folder: Path) -> list[Row]:
    """Replies with people's propositions; rows that neither comply nor look like a refusal are left out."""
    rows = []
    for row in _jsonl(folder / "openai-rbr/train.jsonl"):
        what, text = row["propositions"], row["completion"][0]["content"].strip()
        refuses = what["inability_to_comply"] or what["definitive_verbiage"] or _declines(text)
        if what["illogical_continuation_of_prompt"] or not text:
            continue
        if what["fully_complies"]:
            label = "partial" if refuses and _declines(opening_of(text)) else "none"
        elif what["partially_complies"]:
            label = "partial"
        elif refuses or row["response_type"] != "Comply":
            label = "full"
        else:
            continue
        prompt = row["prompt"][-1]["content"]
        rows.append(Row(prompt, text, label, f"rbr:{prompt}", "openai-rbr"))
    return rows


def compliances(folder: Path) -> list[Row]:
    """Answers without any refusing words from CoCoNot's contrast pairs and UltraFeedback, all none."""
    rows = []
    for row in _jsonl(folder / "coconot-pref/coconot_pref.jsonl"):
        for side in ("chosen", "rejected"):
            text = (row.get(side) or "").strip()
            if text and not hints(opening_of(text)):
                rows.append(Row(row["prompt"], text, "none", f"coconot:{row['prompt']}", "coconot"))
    for row in list(_jsonl(folder / "ultrafeedback-sample/train_clean.jsonl"))[:700]:
        text = row["chosen"].strip()
        if text and not hints(opening_of(text)):
            rows.append(Row(row["prompt"], text, "none", f"ultrafeedback:{row['prompt']}", "ultrafeedback"))
    return rows


def read_labels(folder: Path) -> list[Row]:
    """Rows of CoCoNot and hh-rlhf whose label was set by reading them for this project (`labels.jsonl`)."""
    path = HERE / "labels.jsonl"
    if not path.exists():
        return []
    pools = {"coconot": dict(_coconot_candidates(folder)), "hh": dict(_hh_candidates(folder))}
    rows = []
    for row in _jsonl(path):
        prompt, text = pools[row["source"]][row["key"]]
        rows.append(Row(prompt, text, row["label"], f"{row['source']}:{prompt}", f"{row['source']}-read"))
    return rows


def _coconot_candidates(folder: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    for row in _jsonl(folder / "coconot-pref/coconot_pref.jsonl"):
        for side in ("chosen", "rejected"):
            text = (row.get(side) or "").strip()
            if text:
                yield f"{row['id']}:{side}", (row["prompt"], text)


def _hh_candidates(folder: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    for number, row in enumerate(_jsonl(folder / "hh-rlhf-harmless/dev.jsonl")):
        head, _, text = row["chosen"].rpartition("\n\nAssistant:")
        prompt = head.rpartition("\n\nHuman:")[2].strip()
        if text.strip():
            yield f"{number}:chosen", (prompt, text.strip())


def training_rows(folder: Path) -> list[Row]:
    """All rows that train, at most three copies of one and the same completion."""
    rows = [
        *handwritten(), *composed_rows(),
        *soft_rows(),
        *premise_rows(),
        *smollm2_samples(),
        *shipped_pairs("train"), *gptfuzz(folder, "train"), *openai_rbr(folder), *compliances(folder),
        *read_labels(folder),
    ]  # fmt: skip
    kept, copies = [], {}
    for row in rows:
        copies[row.completion] = copies.get(row.completion, 0) + 1
        if copies[row.completion] <= 3:
            kept.append(row)
    return kept


XSTEST_LABELS = {"1_full_compliance": "none", "2_full_refusal": "full", "3_partial_refusal": "partial"}


def xstest(folder: Path) -> dict[str, list[Row]]:
    """XSTest v2 completions by model, with people's final labels. For measuring only."""
    return {
        model: [
            Row(row["prompt"], row["completion"].strip(), XSTEST_LABELS[row["final_label"]], row["prompt"], model)
            for row in _csv(folder / f"xstest/xstest_v2_completions_{model}.csv")
            if row["final_label"] in XSTEST_LABELS and row["completion"].strip()
        ]
        for model in ("llama2orig", "llama2new", "mistralinstruct")
    }


def ultrafeedback_eval(folder: Path) -> list[Row]:
    """Chosen answers of UltraFeedback's held-out side: benign requests answered, for false refusals."""
    return [
        Row(row["prompt"], row["chosen"].strip(), "none", row["prompt"], "ultrafeedback")
        for row in _jsonl(folder / "ultrafeedback-sample/eval_clean.jsonl")
        if row["chosen"].strip()
    ]
