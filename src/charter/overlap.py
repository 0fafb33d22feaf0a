"""Near-duplicate search between texts, exact over an inverted index: training must not hold what is measured."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """The word `size`-grams of a text, case and punctuation aside; the words themselves when it is shorter."""
    words = _WORD.findall(text.lower())
    if len(words) < size:
        return frozenset((word,) for word in words)
    return frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def near_duplicates(
    texts: Sequence[str], others: Sequence[str], threshold: float = 0.5
) -> list[tuple[int, int, float]]:
    """(index in texts, index in others, similarity) of every pair whose Jaccard similarity of word 3-grams is at
    least `threshold` (in (0, 1])."""
    table: dict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes = []
    for index, other in enumerate(others):
        grams = shingles(other)
        sizes.append(len(grams))
        for gram in grams:
            table[gram].append(index)
    found: list[tuple[int, int, float]] = []
    for index, text in enumerate(texts):
        mine = shingles(text)
        shared = Counter(place for gram in mine for place in table.get(gram, ()))
        for place, common in sorted(shared.items()):
            similarity = common / (len(mine) + sizes[place] - common)
            if similarity >= threshold:
                found.append((index, place, similarity))
    return found
