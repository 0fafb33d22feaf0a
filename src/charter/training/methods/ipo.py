"""Identity preference optimisation on log-ratios summed over tokens, as in the paper and its authors' code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.ports import Observer
from charter.records import Preference
from charter.training.losses import ipo_loss
from charter.training.methods.base import Method, Trained
from charter.training.methods.pairs import PairLoss, PairSettings, train_pairs


class IpoSettings(PairSettings):
    """Identity preference optimisation, summed (Azar et al. 2023)."""

    method: Literal["ipo"] = "ipo"
    beta: float = Field(0.1, gt=0, description="The margin, in nats, is pulled to 1 / (2 beta).")


def pair_loss(settings: IpoSettings) -> PairLoss:
    """IPO as these settings ask for it."""
    return PairLoss(
        lambda chosen, rejected: ipo_loss(chosen - rejected, settings.beta),
        reward_scale=settings.beta,
    )


def train_ipo(
    model: str, rows: Sequence[Preference], settings: IpoSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    return train_pairs(model, rows, settings, folder, pair_loss=pair_loss(settings), title="IPO", observer=observer)


METHOD = Method(IpoSettings, train_ipo)
