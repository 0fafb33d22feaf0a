"""Odds-ratio preference optimisation: imitation of the chosen side and a preference term, without a reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.ports import Observer
from charter.records import Preference
from charter.training.losses import orpo_loss
from charter.training.methods.base import Method, Trained
from charter.training.methods.pairs import PairLoss, PairSettings, train_pairs


class OrpoSettings(PairSettings):
    """Odds-ratio preference optimisation (Hong et al. 2024)."""

    method: Literal["orpo"] = "orpo"
    odds_weight: float = Field(0.1, gt=0, description="Weight of the odds-ratio term (the paper's lambda).")


def pair_loss(settings: OrpoSettings) -> PairLoss:
    """ORPO as these settings ask for it: the chosen side's likelihood per token has weight 1."""
    return PairLoss(
        lambda chosen, rejected: settings.odds_weight * orpo_loss(chosen, rejected),
        reward_scale=settings.odds_weight,
        reference=False,
        per_token=True,
        sft_weight=1.0,
    )


def train_orpo(
    model: str, rows: Sequence[Preference], settings: OrpoSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on preferences, without a reference. The result is `folder/model`."""
    return train_pairs(model, rows, settings, folder, pair_loss=pair_loss(settings), title="ORPO", observer=observer)


METHOD = Method(OrpoSettings, train_orpo)
