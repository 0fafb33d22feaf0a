"""What many prompts begin with alike, such as a system prompt, so that it is computed once."""

from __future__ import annotations

from collections.abc import Sequence

_LEAST = 8
"""A common beginning shorter than this (a BOS token, a role) is not worth its bookkeeping."""
_SET = 32
"""Prompts with so many first tokens in common belong together, as those under one clause do."""
_SAVED = 128
"""Fewer tokens saved than this are not worth a forward pass of their own."""


def common_beginning(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many token ids all prompts begin with alike; 0 when they are few. Every prompt keeps one of its own."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    # What the first and the last in lexical order share, all between them share too.
    shared = min(alike(low, high), most)
    return shared if shared >= _LEAST else 0


def alike(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many token ids both begin with alike."""
    shortest = min(len(one), len(other))
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), shortest)


def side_by_side(prompts: Sequence[tuple[int, ...]], lengths: Sequence[int]) -> list[int]:
    """An order in which prompts that begin alike follow each other, where that saves enough: sets by their longest,
    longest first, and so inside. All others, which share no more than what every prompt begins with, are one set.

    lengths: tokens that each may grow to.
    """
    starts: list[tuple[int, ...]] = [()] * len(prompts)
    for places in _worthwhile(prompts):
        for place in places:
            starts[place] = prompts[place][:_SET]
    longest: dict[tuple[int, ...], int] = {}
    for start, length in zip(starts, lengths, strict=True):
        longest[start] = max(longest.get(start, 0), length)
    return sorted(range(len(prompts)), key=lambda i: (-longest[starts[i]], starts[i], -lengths[i], i))


def prefill_sets(prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Which prompts to compute together, by their places: those that begin alike, where that saves enough; the rest.

    What all prompts of a set begin with is computed once: mixed with others, prompts under one clause share nothing.
    """
    apart = _worthwhile(prompts)
    taken = {place for places in apart for place in places}
    rest = [place for place in range(len(prompts)) if place not in taken]
    return [*apart, rest] if rest else apart


def own_share(first: tuple[int, ...], prompt: tuple[int, ...], shared: int) -> int:
    """How many tokens of `prompt` are computed with `first` already, beyond the `shared` that all prompts begin with;
    0 when they are too few to count on."""
    more = alike(first, prompt) - shared
    return more if more >= _SET else 0


def _worthwhile(prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Sets of places whose prompts begin alike by enough more than all prompts do."""
    by_start: dict[tuple[int, ...], list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_start.setdefault(prompt[:_SET], []).append(place)
    shared = common_beginning(prompts)
    found = []
    for places in by_start.values():
        more = common_beginning([prompts[place] for place in places]) - shared
        # Computed apart, a set computes again what all begin with.
        if more * (len(places) - 1) - shared >= _SAVED:
            found.append(places)
    return found
