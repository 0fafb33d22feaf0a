"""Near-duplicate search between texts, exact over an inverted index: training must not hold what is measured."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

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


def near_duplicates_within(
    texts: Sequence[str], threshold: float = 0.8, progress: Callable[[int], None] = lambda _done: None
) -> list[tuple[int, int, float]]:
    """(index, later index, similarity) of every pair of these texts, as `near_duplicates` measures it.

    Only each text's rarest shingles are indexed: two texts this similar must share one of them (prefix filtering;
    Bayardo et al. 2007). Common phrases then cost nothing, however many texts hold them.
    """
    grams = [shingles(text) for text in texts]
    frequency = Counter(gram for one in grams for gram in one)
    table: dict[tuple[str, ...], list[int]] = defaultdict(list)
    found: list[tuple[int, int, float]] = []
    for index, mine in enumerate(grams):
        rarest = sorted(mine, key=lambda gram: (frequency[gram], gram))
        prefix = rarest[: len(mine) - math.ceil(threshold * len(mine) - 1e-9) + 1]
        for place in sorted({place for gram in prefix for place in table[gram]}):
            common = len(mine & grams[place])
            similarity = common / (len(mine) + len(grams[place]) - common)
            if similarity >= threshold:
                found.append((place, index, similarity))
        for gram in prefix:
            table[gram].append(index)
        progress(index + 1)
    return found
