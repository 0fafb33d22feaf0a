"""Training methods, one module each: from records to a trained model in a folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from charter.training.methods.base import Method, Trained
from charter.training.methods.dpo import DpoSettings, train_dpo
from charter.training.methods.sft import SftSettings, train_sft

AnySettings = Annotated[SftSettings | DpoSettings, Field(discriminator="method")]
"""The settings of any method, told apart by `method`; a recipe's training stages."""

__all__ = ["AnySettings", "DpoSettings", "Method", "SftSettings", "Trained", "train_dpo", "train_sft"]
