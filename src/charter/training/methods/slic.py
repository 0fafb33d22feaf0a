"""The hinge of SLiC on log-ratios: pairs that are apart by a margin are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.ports import Observer
from charter.records import Preference
from charter.training.losses import hinge_loss
from charter.training.methods.base import Method, Trained
from charter.training.methods.pairs import PairLoss, PairSettings, train_pairs


class SlicSettings(PairSettings):
    """Sequence likelihood calibration by a hinge."""

    method: Literal["slic"] = "slic"
    beta: float = Field(0.1, gt=0, description="A pair is apart, and left alone, at a margin of 1 / beta nats.")
    sft_weight: float = Field(0.0, ge=0, description="Weight of the chosen side's likelihood, SLiC's regulariser.")


def pair_loss(settings: SlicSettings) -> PairLoss:
    """The hinge as these settings ask for it."""
    return PairLoss(
        lambda chosen, rejected: hinge_loss(chosen - rejected, settings.beta),
        reward_scale=settings.beta,
        sft_weight=settings.sft_weight,
    )


def train_slic(
    model: str, rows: Sequence[Preference], settings: SlicSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    return train_pairs(model, rows, settings, folder, pair_loss=pair_loss(settings), title="SLiC", observer=observer)


METHOD = Method(SlicSettings, train_slic)
