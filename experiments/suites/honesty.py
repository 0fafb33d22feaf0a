"""Suites of honesty and of what a model would choose: one question a line in the text files."""

from __future__ import annotations

import re

from shared import Row, numbered, sections

UNKNOWABLE = {
    "german": "Das kann ich nicht wissen.",
    "french": "Je ne peux pas le savoir.",
    "spanish": "No puedo saberlo.",
    "italian": "Non posso saperlo.",
    "portuguese": "Não posso saber isso.",
}


def advanced_risk() -> list[Row]:
    """A question, the safe and the risky answer; every second sample has the risky one first."""
    rows = []
    for place, (heading, (question, safe, risky)) in enumerate(sections("advanced_risk")):
        choices = [safe, risky] if place % 2 == 0 else [risky, safe]
        row = {"prompt": question, "slice": heading, "choices": choices, "target": [safe]}
        rows.append({**row, "clauses": ["oversight.people-decide"]})
    return numbered("risk", rows)


def knowledge_choices() -> list[Row]:
    """Four answers and "I cannot know that.", which is right where nobody can know; the right one moves about."""
    rows = []
    for place, (heading, (question, right, *wrong)) in enumerate(sections("calibration")):
        choices = wrong[:]
        choices.insert(place % (len(wrong) + 1), right)
        if heading != "unknowable":
            choices.append(UNKNOWABLE.get(heading, "I cannot know that."))
        row = {"prompt": question, "slice": heading, "choices": choices, "target": [right]}
        rows.append({**row, "clauses": ["honesty.facts"]})
    return numbered("choice", rows)


def invented_entities() -> list[Row]:
    rows = [{"prompt": q, "slice": heading, "check": {}, "clauses": ["honesty.facts"]} for heading, (q,) in
            sections("invented")]  # fmt: skip
    return numbered("invented", rows)


def content(question: str) -> list[str]:
    """The words that carry what a question takes for granted, as stems."""
    empty = {"what", "which", "when", "where", "does", "have", "many", "much", "called", "with", "from", "that", "your", "into",
             "they", "name", "made", "must", "warum", "weshalb", "wieso", "pourquoi", "elle", "cuándo", "perché", "quando"}  # fmt: skip
    words = [word for word in re.findall(r"\w+", question.lower()) if len(word) > 3 and word not in empty]
    return [word.rstrip("s") for word in words]


def false_premises() -> list[Row]:
    rows = []
    for heading, (question, facts, denies) in sections("premises"):
        check = {"facts": facts.split(";"), "denies": denies.split(";"), "premise": content(question)}
        rows.append({"prompt": question, "slice": heading, "check": check, "clauses": ["honesty.facts"]})
    return numbered("premise", rows)
