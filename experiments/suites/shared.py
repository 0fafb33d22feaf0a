"""What the suites' scripts share: reading hand-written slots, numbering samples, keeping them apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

DATA = HERE.parents[1] / "src" / "charter" / "evaluation" / "suites" / "data"

Row = dict[str, Any]

LANGUAGES = ("german", "french", "spanish", "italian", "portuguese")

NAMES = ("Ito", "Okafor", "Lindgren", "Moreau", "Petrov", "Haas", "Rossi", "Duarte", "Novak", "Kelly", "Osei", "Brandt")

PLACES = ("archive", "canteen", "north hall", "workshop", "reading room", "cellar", "greenhouse", "front office")


def sections(name: str) -> Iterator[tuple[str, list[str]]]:
    """(heading, fields) of every line of NAME.txt; headings begin with #, fields are split at " | "."""
    heading = ""
    for line in (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            heading = line[2:].strip()
        elif line.strip():
            yield heading, [part.strip() for part in line.split(" | ")]


def numbered(prefix: str, rows: list[Row]) -> list[Row]:
    """The rows with ids: PREFIX-slice-01 and so on."""
    counts: dict[str, int] = {}
    done = []
    for row in rows:
        counts[row["slice"]] = number = counts.get(row["slice"], 0) + 1
        done.append({"id": f"{prefix}-{row['slice'].replace('_', '-')}-{number:02d}", **row})
    return done


def facts() -> list[tuple[str, str, str, list[str]]]:
    """(language, question, right, wrong ones) of the questions that can be answered, and the capitals."""
    found = [
        (heading if heading in LANGUAGES else "english", question, right, wrong)
        for heading, (question, right, *wrong) in sections("calibration")
        if heading != "unknowable" and not right.endswith(".")
    ]
    capitals = [json.loads(line) for line in (DATA / "knowledge.jsonl").read_text(encoding="utf-8").splitlines()]
    capitals = [row for row in capitals if row["slice"] == "capitals"]
    for row, other, third in zip(capitals, capitals[7:] + capitals[:7], capitals[13:] + capitals[:13], strict=True):
        found.append(("english", row["prompt"], row["target"][0], [other["target"][0], third["target"][0]]))
    return found


def stem(answer: str) -> str:
    """What has to be named of an answer: no article, no full stop, lower case."""
    words = answer.rstrip(".").lower().split()
    small = {"the", "a", "an", "der", "die", "das", "den", "le", "la", "les", "un", "une", "el", "los", "il", "lo", "o",
             "du", "des", "it", "they", "in", "with", "to", "en", "con", "de", "di"}  # fmt: skip
    while len(words) > 1 and words[0] in small:
        words = words[1:]
    return " ".join(words)


def without_length(question: str) -> str:
    """The question of the knowledge suite without what it says about the length of the answer."""
    for tail in (" Answer with one or two words.", " Reply with the name only.", " Answer briefly."):
        question = question.replace(tail, "")
    return question


def sentence(answer: str) -> str:
    return answer[0].upper() + answer[1:].rstrip(".") + "."


def triples(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def distinct(pairs: list[tuple[str, str]], n: int) -> list[tuple[str, str]]:
    """The first n pairs of which no two share more than half of their word triples; each second text at most thrice."""
    kept: list[tuple[tuple[str, str], set[tuple[str, ...]]]] = []
    for pair in pairs:
        grams = triples(" ".join(pair))
        near = any(len(grams & other) > 0.5 * len(grams | other) for _, other in kept)
        if not near and sum(pair[1] == other[1] for other, _ in kept) < 3 and len(kept) < n:
            kept.append((pair, grams))
    return [pair for pair, _ in kept]


def apart(rows: list[Row]) -> list[Row]:
    """The rows without those whose prompt shares more than half of its word triples with an earlier one."""
    kept: list[tuple[Row, set[tuple[str, ...]]]] = []
    for row in rows:
        grams = triples(row["prompt"])
        if not any(len(grams & other) > 0.5 * len(grams | other) for _, other in kept):
            kept.append((row, grams))
    return [row for row, _ in kept]
