"""Identity preference optimisation on log-ratios averaged over each side's tokens, as TRL computes it."""

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


class IpoMeanSettings(PairSettings):
    """Identity preference optimisation, averaged over tokens."""

    method: Literal["ipo_mean"] = "ipo_mean"
    beta: float = Field(0.1, gt=0, description="The margin, in nats per token, is pulled to 1 / (2 beta).")


def pair_loss(settings: IpoMeanSettings) -> PairLoss:
    """Averaged IPO as these settings ask for it."""
    return PairLoss(
        lambda chosen, rejected: ipo_loss(chosen - rejected, settings.beta),
        reward_scale=settings.beta,
        per_token=True,
    )


def train_ipo_mean(
    model: str, rows: Sequence[Preference], settings: IpoMeanSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    return train_pairs(
        model, rows, settings, folder, pair_loss=pair_loss(settings), title="IPO (mean)", observer=observer
    )


METHOD = Method(IpoMeanSettings, train_ipo_mean)
