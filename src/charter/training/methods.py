"""Methods by name: from records to a trained model in a folder. One function serves the CLI and the recipes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from charter.errors import UserError
from charter.records import Demonstration, Preference, write_text
from charter.training.dpo import DpoObjective, cached_reference
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import TrainResult, train
from charter.training.policy import Policy, trainable_policy
from charter.training.rows import demonstration_groups, preference_groups
from charter.training.settings import TrainSettings
from charter.training.sft import SftObjective


class SftSettings(TrainSettings):
    """Supervised fine-tuning."""


class DpoSettings(TrainSettings):
    """Direct preference optimisation."""

    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    beta: float = Field(0.1, gt=0, description="Strength of the tether to the reference.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Chance that a label is flipped (cDPO).")
    sft_weight: float = Field(0.0, ge=0, description="Weight of the chosen side's likelihood (RPO).")


@dataclass(frozen=True)
class Trained:
    """A finished training: where the model is, and what was left out of the data."""

    model: Path
    rows: int
    dropped: Counter[str]
    result: TrainResult


def train_sft(model: str, rows: Sequence[Demonstration], settings: SftSettings, folder: Path) -> Trained:
    """Fine-tune `model` on demonstrations; the result is `folder/model`. Resumes what a killed run left there."""
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, weights, dropped = demonstration_groups(rows, policy.format, settings.max_tokens)
    _need(groups, rows, dropped, "SFT")
    objective = SftObjective(weights)
    result = train(policy.model, objective, groups, settings, folder, title="SFT", identity=policy.digest)
    return _finish(policy, folder, len(groups), dropped, result)


def train_dpo(model: str, rows: Sequence[Preference], settings: DpoSettings, folder: Path) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, dropped = preference_groups(rows, policy.format, settings.max_tokens)
    _need(groups, rows, dropped, "DPO")
    reference = cached_reference(
        CompletionLogprobs(policy.model), groups, settings.row_tokens, policy.digest, folder / "reference"
    )
    objective = DpoObjective(reference, settings.beta, settings.label_smoothing, settings.sft_weight)
    result = train(policy.model, objective, groups, settings, folder, title="DPO", identity=policy.digest)
    return _finish(policy, folder, len(groups), dropped, result)


def _need(groups: Sequence[object], rows: Sequence[object], dropped: Counter[str], method: str) -> None:
    if not groups:
        why = ", ".join(f"{reason}: {count}" for reason, count in dropped.items()) or "the data is empty"
        raise UserError(f"{method}: none of the {len(rows)} rows can be used ({why}). Check the data, or `max_tokens`.")


def _finish(policy: Policy, folder: Path, rows: int, dropped: Counter[str], result: TrainResult) -> Trained:
    policy.save(folder / "model")
    write_text(folder / "dropped.json", json.dumps(dict(dropped), indent=1))
    return Trained(folder / "model", rows, dropped, result)
