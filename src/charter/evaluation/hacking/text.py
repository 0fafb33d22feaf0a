"""How much texts repeat: themselves, and one another."""

from __future__ import annotations

from collections.abc import Sequence


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct-n: different word n-grams of all texts, divided by how many there are (Li et al. 2016, arXiv
    1510.03055). 1.0 where there are none. It falls with the number and the length of texts: compare like with like.
    """
    grams = [gram for text in texts for gram in _grams(text, n)]
    return len(set(grams)) / len(grams) if grams else 1.0


def repetition(text: str, n: int = 3) -> float:
    """Share of a text's word n-grams that stood in it before; 0 for a text of fewer words."""
    grams = _grams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
