"""Protocols that let low rooms use what high rooms provide, without importing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from charter.records import (
    Completion,
    Conversation,
    Demonstration,
    Departure,
    Exchange,
    Rewarded,
    Sampling,
    Score,
    Word,
)

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


class PolicyNow(Protocol):
    """A policy in the middle of its training, as it is at this step: what an observer may ask of it.

    The start is the policy as its training found it, which every method's reference is too.
    """

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        ...

    @property
    def steps(self) -> int:
        """Optimiser steps that the whole training has."""
        ...

    @property
    def model(self) -> TextModel:
        """The policy, to sample from."""
        ...

    def departures(self, prompts: Sequence[Conversation], sampled: Sequence[Completion]) -> list[Departure | None]:
        """How far the policy is from its start along completions sampled from it at temperature 1; None for a failed
        one."""
        ...

    def log_ratios(self, rows: Sequence[Demonstration]) -> list[float | None]:
        """Per row, log policy - log start of its completion (nats, summed); None for one that is too long."""
        ...


class Observer(Protocol):
    """Looks at a policy inside a run, and may say what becomes of it. Looking changes nothing of the training.

    A resumed run looks again at steps that it has to make again; what was seen there before still stands, as the
    weights are the same.
    """

    def due(self, step: int, steps: int) -> bool:
        """Whether to look after `step` of `steps` optimiser steps; asked from 0 on."""
        ...

    def look(self, policy: PolicyNow) -> Word:
        """Look, and say what to do."""
        ...
