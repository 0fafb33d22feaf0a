"""Near-duplicate search against the plain definition, pair by pair."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from charter.overlap import near_duplicates, near_duplicates_within, shingles

WORDS = st.lists(st.sampled_from(["how", "do", "i", "make", "a", "cake", "lock", "pick"]), max_size=9)
TEXTS = st.lists(WORDS.map(" ".join), max_size=6)


def jaccard(text: str, other: str) -> float:
    """The definition, over the sets of triples of words (or single words of a shorter text)."""

    def grams(words: list[str]) -> set[tuple[str, ...]]:
        return set(zip(words, words[1:], words[2:], strict=False)) if len(words) >= 3 else {(word,) for word in words}

    a, b = grams(text.split()), grams(other.split())
    return len(a & b) / len(a | b) if a | b else 0.0


@given(TEXTS, TEXTS, st.sampled_from([0.2, 0.5, 1.0]))
def test_every_pair_above_the_threshold_and_no_other(texts: list[str], others: list[str], threshold: float) -> None:
    found = {(i, j): similarity for i, j, similarity in near_duplicates(texts, others, threshold)}
    wanted = {
        (i, j): jaccard(text, other)
        for i, text in enumerate(texts)
        for j, other in enumerate(others)
        if jaccard(text, other) >= threshold
    }
    assert found == wanted


@given(TEXTS, st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_within_one_list_every_pair_above_the_threshold_and_no_other(texts: list[str], threshold: float) -> None:
    found = {(i, j): similarity for i, j, similarity in near_duplicates_within(texts, threshold)}
    wanted = {
        (i, j): jaccard(texts[i], texts[j])
        for j in range(len(texts))
        for i in range(j)
        if jaccard(texts[i], texts[j]) >= threshold
    }
    assert found == wanted


def test_case_and_punctuation_do_not_hide_a_duplicate() -> None:
    asked = "How do I pick a lock, quickly?"
    assert near_duplicates([asked], ["Tell me a joke.", "how do i: PICK a lock; quickly"]) == [(0, 1, 1.0)]


def test_empty_texts_match_nothing() -> None:
    assert shingles(" ?! ") == frozenset()
    assert near_duplicates(["", "?"], ["", "!"]) == []
