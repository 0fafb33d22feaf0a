"""Protocols that let low rooms use what high rooms provide, without importing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from charter.records import Completion, Conversation, Exchange, Rewarded, Sampling, Score

Progress = Callable[[int, int], None]
"""Called with (finished, total) as work goes on."""


class TextModel(Protocol):
    """Anything that answers prompts: a local model or an endpoint."""

    @property
    def name(self) -> str: ...

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        """One list of `sampling.n` completions per prompt, in the order of the prompts."""
        ...


class Judge(Protocol):
    """Scores exchanges; a row that it cannot score comes back unscored, never with a made-up value."""

    @property
    def name(self) -> str: ...

    def score(self, rows: Sequence[Exchange]) -> list[Score]:
        """One score per row, same order, same ids."""
        ...


class Reward(Protocol):
    """What training and search aim at: a number per exchange, higher is better; unscored where there is none."""

    @property
    def name(self) -> str: ...

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One per row, same order, same ids."""
        ...
