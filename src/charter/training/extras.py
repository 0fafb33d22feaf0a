"""What a run's settings ask for beyond the base installation, checked before any work is done."""

from __future__ import annotations

from charter.training.optimizer import eight_bit
from charter.training.settings import TrainSettings


def check_installed(settings: TrainSettings) -> None:
    """Raises UserError, naming the command that installs it, for a missing library that the settings need."""
    if settings.optimizer == "adamw_8bit":
        eight_bit()
