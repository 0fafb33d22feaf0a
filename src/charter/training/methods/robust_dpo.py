"""Robust DPO: the loss that is right on average when a known share of the labels is flipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.ports import Observer
from charter.records import Preference
from charter.training.losses import robust_dpo_loss
from charter.training.methods.base import Method, Trained
from charter.training.methods.pairs import PairLoss, PairSettings, train_pairs


class RobustDpoSettings(PairSettings):
    """Robust DPO (Ray Chowdhury et al. 2024)."""

    method: Literal["robust_dpo"] = "robust_dpo"
    beta: float = Field(0.1, gt=0, description="Strength of the tether to the reference.")
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="Share of labels believed to be flipped.")


def pair_loss(settings: RobustDpoSettings) -> PairLoss:
    """Robust DPO as these settings ask for it."""
    return PairLoss(
        lambda chosen, rejected: robust_dpo_loss(chosen - rejected, settings.beta, settings.label_smoothing),
        reward_scale=settings.beta,
    )


def train_robust_dpo(
    model: str,
    rows: Sequence[Preference],
    settings: RobustDpoSettings,
    folder: Path,
    *,
    observer: Observer | None = None,
) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    return train_pairs(
        model, rows, settings, folder, pair_loss=pair_loss(settings), title="robust DPO", observer=observer
    )


METHOD = Method(RobustDpoSettings, train_robust_dpo)
