"""Simple preference optimisation: length-normalised log-probs, a target margin, no reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.ports import Observer
from charter.records import Preference
from charter.training.losses import simpo_loss
from charter.training.methods.base import Method, Trained
from charter.training.methods.pairs import PairLoss, PairSettings, train_pairs


class SimpoSettings(PairSettings):
    """Simple preference optimisation (Meng et al. 2024)."""

    method: Literal["simpo"] = "simpo"
    beta: float = Field(2.0, gt=0, description="Scale of the reward, beta times the mean log-prob of a token.")
    gamma: float = Field(1.0, ge=0, description="Reward by which the chosen side should lead.")
    sft_weight: float = Field(0.0, ge=0, description="Weight of the chosen side's likelihood; nothing else tethers.")


def pair_loss(settings: SimpoSettings) -> PairLoss:
    """SimPO as these settings ask for it."""
    return PairLoss(
        lambda chosen, rejected: simpo_loss(chosen - rejected, settings.beta, settings.gamma),
        reward_scale=settings.beta,
        reference=False,
        per_token=True,
        sft_weight=settings.sft_weight,
    )


def train_simpo(
    model: str, rows: Sequence[Preference], settings: SimpoSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on preferences, without a reference. The result is `folder/model`."""
    return train_pairs(model, rows, settings, folder, pair_loss=pair_loss(settings), title="SimPO", observer=observer)


METHOD = Method(SimpoSettings, train_simpo)
