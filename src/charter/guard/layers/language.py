"""Text that the English classifier cannot read: said to be outside coverage, not passed as safe."""

# ruff: noqa: E501  (word lists)

from __future__ import annotations

import re
from typing import Final

from charter.guard.subject import Subject
from charter.guard.verdicts import STOP_AT, Finding

_WORD: Final = re.compile(r"[^\W\d_]+")
_ENGLISH: Final = frozenset(
    ["the", "a", "an", "and", "or", "of", "to", "in", "is", "are", "was", "were", "be", "been", "being", "you", "your", "yours", "i", "me", "my", "mine", "he", "him", "his", "she", "her", "it", "its", "we", "our", "they", "them", "their", "this", "that", "these", "those", "for", "on", "with", "as", "at", "by", "from", "not", "no", "do", "does", "did", "how", "what", "why", "when", "where", "which", "who", "can", "could", "will", "would", "should", "may", "might", "must", "have", "has", "had", "if", "then", "than", "so", "but", "all", "any", "some", "more", "most", "other", "about", "into", "over", "after", "before", "up", "out", "off", "again", "there", "here", "give", "write", "make", "tell", "explain", "list", "please", "me", "need", "want", "like", "get", "use", "one", "two", "new", "good", "just", "know", "time", "people", "find", "help", "create", "describe", "between", "during", "without", "under", "because", "while"]
)  # fmt: skip
MIN_WORDS: Final = 6
SCRIPT: Final = 0.3
"""Share of letters outside the Latin script from which a text is outside coverage."""
COMMON: Final = 0.08
"""Share of English function words below which a text of MIN_WORDS Latin words is taken for another language."""


def outside(text: str) -> float:
    """How far a text is outside what the classifier reads: STOP_AT and more where it is, in [0, 1]."""
    letters = [c for c in text if c.isalpha()]
    if len(letters) < 4:
        return 0.0
    foreign = sum(ord(c) > 0x24F for c in letters) / len(letters)
    words = [word.lower() for word in _WORD.findall(text)]
    score = min(1.0, STOP_AT * foreign / SCRIPT)
    # Code has few function words and many marks: it is read well enough.
    marks = sum(not c.isalnum() and not c.isspace() for c in text) / max(len(text), 1)
    if len(words) >= MIN_WORDS and marks < 0.08:
        accented = sum(0x7F < ord(c) <= 0x24F for c in letters) / len(letters)
        common = sum(word in _ENGLISH for word in words) / len(words)
        latin = 1 - common / (2 * COMMON) if common < 2 * COMMON else 0.0
        score = max(score, min(1.0, latin * (1 if accented > 0.005 else 0.7)))
    return score


class LanguageLayer:
    """Escalates text in a language that the classifier does not read."""

    name = "language"

    def check(self, subject: Subject) -> Finding:
        score = outside(subject.plain.text)
        if score < STOP_AT:
            return Finding(score=score)
        return Finding("escalate", score, ("language",), reason="a language outside the classifier's coverage")
