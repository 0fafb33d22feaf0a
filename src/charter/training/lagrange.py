"""A constraint on costs as a Lagrange multiplier: Safe RLHF, Dai et al. 2023 (arXiv 2310.12773), section 3.3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Multiplier:
    """The multiplier lambda of "expected cost <= limit", kept as its logarithm so that it stays positive.

    log_value: log lambda.  limit: the cost that is allowed on average.  rate: step size.  ceiling: largest lambda.
    Raises ValueError for numbers out of range.
    """

    log_value: float
    limit: float
    rate: float
    ceiling: float | None = None

    def __post_init__(self) -> None:
        if self.rate <= 0 or (self.ceiling is not None and self.ceiling <= 0):
            raise ValueError("a multiplier's rate and its ceiling must be above zero")

    @property
    def value(self) -> float:
        """lambda."""
        return math.exp(self.log_value)

    def after(self, cost: float) -> Multiplier:
        """The multiplier after a batch: log lambda + rate · lambda · (cost - limit). Eq. 31 of the paper's appendix.

        cost: mean over the batch's completions, unscored ones left out.  Raises ValueError when it is no number.
        """
        if not math.isfinite(cost):
            raise ValueError(f"the mean cost is {cost}: the multiplier cannot follow it")
        log_value = self.log_value + self.rate * self.value * (cost - self.limit)
        if self.ceiling is not None:
            log_value = min(log_value, math.log(self.ceiling))
        return replace(self, log_value=log_value)

    def joined(self, reward: Tensor, cost: Tensor) -> Tensor:
        """(reward - lambda · cost) / (1 + lambda), elementwise: of scores, or of the advantages of either.

        The division keeps the scale of what is learnt from as lambda grows. A KL penalty of weight beta belongs to the
        result; or to both parts, taken from the reward and added to the cost, which comes to the same.
        """
        return (reward - self.value * cost) / (1 + self.value)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: float64, so that a resumed run goes on bit by bit."""
        return {"log_value": torch.tensor(self.log_value, dtype=torch.float64)}

    def restored(self, tensors: Mapping[str, Tensor]) -> Multiplier:
        """This multiplier as it was when `tensors` were made."""
        return replace(self, log_value=float(tensors["log_value"]))
