"""Which of several scores of a completion decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DECIDING: Final = (
    "fine-grained_score", "overall", "overall_score", "score", "rating", "reward", "helpfulness", "quality",
)  # fmt: skip
"""Which score ranks completions, the first that is there. UltraFeedback's fine-grained score is the mean of its four
ratings; its overall score is known to be wrong in places (some 1s stand there as 10s)."""


def deciding_score(scores: Mapping[str, float]) -> float:
    """The score that ranks a completion: the first of `DECIDING`, or the mean of all."""
    name = next((name for name in DECIDING if name in scores), None)
    return scores[name] if name else sum(scores.values()) / len(scores)
