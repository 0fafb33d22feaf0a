"""Settings that every training method shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from charter.models.lora import LoraSettings
from charter.training.optimizer import Kind, Schedule
from charter.training.trackers import Track


class TrainSettings(BaseModel):
    """One training run. Every field is used; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(1, ge=1, description="Passes over the data.")
    batch_size: int = Field(16, ge=1, description="Prompts (with their completions) per optimiser step.")
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate.")
    warmup: float = Field(0.1, ge=0, le=1, description="Share of the steps over which the rate rises.")
    schedule: Schedule = Field("linear", description="How the rate falls after warm-up.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this global 2-norm.")
    optimizer: Kind = Field("adamw", description="adamw_8bit keeps AdamW's moments in 8 bits (bitsandbytes).")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's moment decays.")
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon.")
    max_tokens: int = Field(1024, ge=2, description="Longer examples are dropped (counted, never cut).")
    row_tokens: int = Field(2048, ge=2, description="Token budget of one forward pass; changes memory, not the loss.")
    gradient_checkpointing: bool = Field(False, description="Recompute layers in backward: less memory, more time.")
    save_every: int = Field(25, ge=1, description="Optimiser steps between checkpoints.")
    track: Track | None = Field(None, description="Also send metrics to wandb, mlflow or trackio.")
    seed: int = Field(0, ge=0, description="Data order, adapter start and dropout.")
    lora: LoraSettings | None = Field(LoraSettings(), description="Adapters; null trains all weights.")

    @property
    def updates(self) -> int:
        """Optimiser steps made of each batch of prompts."""
        return 1
