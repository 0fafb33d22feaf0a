"""What prompts begin with alike, and the order that puts such prompts side by side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from charter.models.beginning import alike, common_beginning, own_share, prefill_sets, side_by_side

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=8)


@given(st.lists(st.integers(0, 1), max_size=5).map(tuple), st.lists(st.integers(0, 1), max_size=5).map(tuple))
def test_alike_is_the_longest_common_beginning(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    length = alike(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


@given(PROMPTS)
def test_the_order_has_every_prompt_once_and_few_shared_tokens_do_not_change_it(prompts: list[tuple[int, ...]]) -> None:
    order = side_by_side(prompts, [len(prompt) for prompt in prompts])
    assert order == sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))


def test_sets_go_by_their_longest_and_inside_by_length() -> None:
    clause, other = tuple(range(200)), tuple(range(300, 500))
    prompts = [(*clause, 1), (*other, 1, 2, 3), (*clause, 1, 2, 3, 4, 5), (*other, 1), (7,)]
    assert side_by_side(prompts, [len(prompt) for prompt in prompts]) == [2, 0, 1, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), min_size=1, max_size=12))
def test_sets_hold_every_prompt_once_and_save_what_they_promise(made: list[tuple[int, int]]) -> None:
    prompts = [tuple([clause] * 50 + list(range(10, 10 + tail))) for clause, tail in made]
    found = prefill_sets(prompts)
    assert sorted(place for places in found for place in places) == list(range(len(prompts)))
    assert all(found)

    def tokens(places: list[int]) -> int:
        mine = [prompts[place] for place in places]
        return sum(map(len, mine)) - common_beginning(mine) * (len(mine) - 1)

    assert sum(map(tokens, found)) <= tokens(list(range(len(prompts))))


def test_prompts_under_two_clauses_are_computed_apart() -> None:
    one, two = tuple(range(70)), tuple(range(100, 170))
    prompts = [(*one, 1), (*two, 1), (*one, 2), (*two, 2), (*one, 3, 4), (*two, 5), (7, 8)]
    assert prefill_sets(prompts) == [[0, 2, 4], [1, 3, 5], [6]]
    assert prefill_sets(prompts[:2]) == [[0, 1]]


def test_what_all_begin_with_is_no_reason_to_part() -> None:
    template = tuple(range(60))
    prompts = [(*template, 100 + i % 3, 200 + i) for i in range(12)]
    assert prefill_sets(prompts) == [list(range(12))]
    assert side_by_side(prompts, [len(prompt) for prompt in prompts]) == list(range(12))


def test_tokens_saved_are_those_beyond_what_all_share() -> None:
    first, other = (*range(100), 7), (*range(90), 8, 9)
    assert own_share(first, other, 0) == 90
    assert own_share(first, other, 50) == 40
    assert own_share(first, other, 60) == 0
