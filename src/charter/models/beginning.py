"""What many prompts begin with alike, such as a system prompt, so that it is computed once."""

from __future__ import annotations

from collections.abc import Sequence

_LEAST = 8
"""A common beginning shorter than this (a BOS token, a role) is not worth its bookkeeping."""


def common_beginning(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many token ids all prompts begin with alike; 0 when they are few. Every prompt keeps one of its own."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    # What the first and the last in lexical order share, all between them share too.
    alike = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
    shared = min(alike, most)
    return shared if shared >= _LEAST else 0
