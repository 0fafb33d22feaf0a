"""Chi-squared preference optimisation: a tether that also holds where the data says little."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.ports import Observer
from charter.records import Preference
from charter.training.losses import chi_po_loss
from charter.training.methods.base import Method, Trained
from charter.training.methods.pairs import PairLoss, PairSettings, train_pairs


class ChiPoSettings(PairSettings):
    """Chi-squared preference optimisation (Huang et al. 2024)."""

    method: Literal["chi_po"] = "chi_po"
    beta: float = Field(0.1, gt=0, description="Strength of the tether to the reference.")
    max_reward: float = Field(
        10.0, gt=0, description="Largest reward R believed possible; reward differences beyond 2R have no gradient."
    )


def pair_loss(settings: ChiPoSettings) -> PairLoss:
    """Chi-squared preference optimisation as these settings ask for it."""
    return PairLoss(
        lambda chosen, rejected: chi_po_loss(chosen, rejected, settings.beta, settings.max_reward),
        reward_scale=settings.beta,
    )


def train_chi_po(
    model: str, rows: Sequence[Preference], settings: ChiPoSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    return train_pairs(model, rows, settings, folder, pair_loss=pair_loss(settings), title="χPO", observer=observer)


METHOD = Method(ChiPoSettings, train_chi_po)
