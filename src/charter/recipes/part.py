"""What every part of a recipe is: frozen, and without unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A mapping of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)
