"""What prompts begin with alike, and the order that puts such prompts side by side."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from charter.models.beginning import alike, side_by_side

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=8)


@given(st.lists(st.integers(0, 1), max_size=5).map(tuple), st.lists(st.integers(0, 1), max_size=5).map(tuple))
def test_alike_is_the_longest_common_beginning(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    length = alike(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


@given(PROMPTS)
def test_the_order_has_every_prompt_once_and_equal_ones_together(prompts: list[tuple[int, ...]]) -> None:
    order = side_by_side(prompts, [len(prompt) for prompt in prompts])
    assert sorted(order) == list(range(len(prompts)))
    runs = [prompts[i] for i in order]
    assert sum(a != b for a, b in pairwise(runs)) == max(0, len(set(prompts)) - 1)


def test_sets_go_by_their_longest_and_inside_by_length() -> None:
    clause, other = tuple(range(40)), tuple(range(100, 140))
    prompts = [(*clause, 1), (*other, 1, 2, 3), (*clause, 1, 2, 3, 4, 5), (*other, 1), (7,)]
    assert side_by_side(prompts, [len(prompt) for prompt in prompts]) == [2, 0, 1, 3, 4]
