"""Direct preference optimisation, with label smoothing, length desensitisation and a likelihood term."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.ports import Observer
from charter.records import Preference
from charter.training.losses import dpo_loss
from charter.training.methods.base import Method, Trained
from charter.training.methods.pairs import PairLoss, PairSettings, train_pairs


class DpoSettings(PairSettings):
    """Direct preference optimisation."""

    method: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0, description="Strength of the tether to the reference.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Chance that a label is flipped (cDPO).")
    length_desensitisation: float = Field(
        1.0, ge=0, le=1, description="Weight of the tokens beyond the shorter side's length (LD-DPO); 1 is plain DPO."
    )
    sft_weight: float = Field(0.0, ge=0, description="Weight of the chosen side's likelihood (RPO).")


def pair_loss(settings: DpoSettings) -> PairLoss:
    """DPO as these settings ask for it."""
    return PairLoss(
        lambda chosen, rejected: dpo_loss(chosen - rejected, settings.beta, settings.label_smoothing),
        reward_scale=settings.beta,
        tail_weight=settings.length_desensitisation,
        sft_weight=settings.sft_weight,
    )


def train_dpo(
    model: str, rows: Sequence[Preference], settings: DpoSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    return train_pairs(model, rows, settings, folder, pair_loss=pair_loss(settings), title="DPO", observer=observer)


METHOD = Method(DpoSettings, train_dpo)
