"""The search itself: step by step from the gradient to candidates to the best of them, for one problem or several."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from charter.redteam.gcg.candidates import allowed_tokens, distinct, draw, read_back
from charter.redteam.gcg.objective import Objective
from charter.redteam.protocol import NotPossible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TRIES = 20


class GCGSettings(BaseModel):
    """How to search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(100, ge=1, description="Gradient steps.")
    width: int = Field(512, ge=1, description="Candidates drawn a step.")
    top: int = Field(256, ge=1, description="Tokens a place that candidates are drawn from.")
    replace: int = Field(1, ge=1, description="Places that a candidate changes.")
    buffer: int = Field(0, ge=0, description="Suffixes kept, of which the best is worked on; 0: the newest.")
    mellowmax: float | None = Field(None, gt=0, description="Sharpness of the mean over the target's tokens.")
    ascii_only: bool = Field(True, description="Whether the suffix is printable ASCII.")
    probe: int = Field(16, ge=2, description="With a draft model: one in so many candidates measures its agreement.")
    shrink: int = Field(8, ge=1, description="With a draft model: at most one in so many of its best are tried.")
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """The best suffix seen: its ids, text and loss; the best loss of each step's candidates.

    matched: whether the search ended because greedy decoding gives every target.
    """

    ids: tuple[int, ...]
    text: str
    loss: float
    losses: tuple[float, ...]
    matched: bool


@dataclass(slots=True)
class Buffer:
    """The best suffixes so far, lowest loss first (Hayase et al. 2024). size 0 keeps the newest alone."""

    size: int
    entries: list[tuple[float, Tensor]] = field(default_factory=list)

    def add(self, loss: float, suffix_N: Tensor) -> None:
        """Keep it, if it is good enough."""
        if self.size == 0:
            self.entries = [(loss, suffix_N)]
            return
        bisect.insort(self.entries, (loss, suffix_N), key=lambda entry: entry[0])
        del self.entries[self.size :]

    @property
    def best(self) -> Tensor:
        return self.entries[0][1]


def search(
    objectives: Sequence[Objective],
    tokenizer: PreTrainedTokenizerBase,
    start: Sequence[int],
    settings: GCGSettings,
    *,
    drafts: Sequence[Objective] = (),
    stop_when_matched: bool = False,
    progress: Callable[[int, float], None] | None = None,
) -> Found:
    """Lower the mean loss of the objectives from a first suffix on. Several objectives give a universal suffix.

    Use it inside `ready(model)`. drafts: the same problems on a smaller model with the same tokenizer, for probe
    sampling. progress is called with (step, best loss so far) after each step.
    Raises NotPossible when no candidate survives being read back by the tokenizer.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    problems = [objective.problem for objective in objectives]
    current = torch.tensor(list(start), device=objectives[0].device)
    buffer = Buffer(settings.buffer, [(float("inf"), current)])
    allowed: Tensor | None = None
    best, best_loss, losses, matched = current, float("inf"), [], False
    for step in range(settings.steps):
        current = buffer.best
        gradient = sum_of_gradients(objectives, current)
        if allowed is None:
            allowed = allowed_tokens(tokenizer, gradient.shape[1], ascii_only=settings.ascii_only)
        tried = _candidates(current, gradient, allowed, settings, problems, tokenizer, generator)
        suffix, loss = _best_of(objectives, drafts, tried, settings, generator)
        losses.append(loss)
        buffer.add(loss, suffix)
        if loss < best_loss:
            best, best_loss = suffix, loss
        if progress is not None:
            progress(step + 1, best_loss)
        if stop_when_matched and all(objective.answers(best) for objective in objectives):
            matched = True
            break
    text = tokenizer.decode(best.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Found(tuple(best.tolist()), str(text), best_loss, tuple(losses), matched)


def sum_of_gradients(objectives: Sequence[Objective], suffix_N: Tensor) -> Tensor:
    """(N, V). Each objective's gradient counts alike, whatever its scale (Zou et al. 2023, algorithm 2, footnote)."""
    total: Tensor | None = None
    for objective in objectives:
        _, gradient = objective.gradient(suffix_N)
        if len(objectives) > 1:
            gradient = gradient / gradient.norm().clamp_min(1e-12)
        total = gradient if total is None else total + gradient
    assert total is not None
    return total


def _candidates(
    current: Tensor,
    gradient: Tensor,
    allowed: Tensor,
    settings: GCGSettings,
    problems: Sequence[object],
    tokenizer: PreTrainedTokenizerBase,
    generator: torch.Generator,
) -> Tensor:
    for _ in range(_TRIES):
        drawn = draw(
            current,
            gradient,
            allowed,
            width=settings.width,
            top=settings.top,
            replace=settings.replace,
            generator=generator,
        )
        drawn = distinct(drawn, current)
        kept = drawn[read_back(drawn, problems, tokenizer)] if len(drawn) else drawn  # type: ignore[arg-type]
        if len(kept):
            return kept
    raise NotPossible("no candidate suffix is read back by the tokenizer as it was written")


def mean_losses(objectives: Sequence[Objective], suffixes_CN: Tensor) -> Tensor:
    """The mean over the objectives, (C,)."""
    return torch.stack([objective.losses(suffixes_CN) for objective in objectives]).mean(0)


def _best_of(
    objectives: Sequence[Objective],
    drafts: Sequence[Objective],
    tried_CN: Tensor,
    settings: GCGSettings,
    generator: torch.Generator,
) -> tuple[Tensor, float]:
    """The best candidate; with drafts by probe sampling (Zhao et al. 2024): the better the draft agrees, the fewer of
    its favourites are tried on the model itself."""
    if drafts and len(tried_CN) > settings.probe:
        guessed = mean_losses(drafts, tried_CN)
        order = torch.randperm(len(tried_CN), generator=generator).to(tried_CN.device)
        probe = order[: max(2, len(tried_CN) // settings.probe)]
        measured = mean_losses(objectives, tried_CN[probe])
        agreement = rank_correlation(guessed[probe], measured)
        count = max(1, round((1 - agreement) / 2 * len(tried_CN) / settings.shrink))
        favourites = guessed.argsort()[:count]
        chosen = torch.cat((probe, favourites))
        scores = torch.cat((measured, mean_losses(objectives, tried_CN[favourites])))
    else:
        chosen = torch.arange(len(tried_CN), device=tried_CN.device)
        scores = mean_losses(objectives, tried_CN)
    at = int(scores.argmin())
    return tried_CN[chosen[at]], float(scores[at])


def rank_correlation(a_N: Tensor, b_N: Tensor) -> float:
    """Spearman's, without regard to ties; 0 where one of them is constant."""
    ranks = torch.stack([values.argsort().argsort().double() for values in (a_N, b_N)])
    if a_N.unique().numel() < 2 or b_N.unique().numel() < 2:
        return 0.0
    return float(torch.corrcoef(ranks)[0, 1])
