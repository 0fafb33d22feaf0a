"""What a run's settings ask for beyond the base installation, checked before any work is done."""

from __future__ import annotations

from charter.models.quantize import check_quantizable
from charter.training.optimizer import eight_bit
from charter.training.settings import TrainSettings
from charter.training.trackers import client


def check_installed(settings: TrainSettings) -> None:
    """Raises UserError, naming the command that installs it, for a library that the settings need and that is missing,
    and for 4-bit weights where there is no CUDA device."""
    if settings.optimizer == "adamw_8bit":
        eight_bit()
    if settings.track is not None:
        client(settings.track)
    if settings.lora is not None and settings.lora.quantize:
        check_quantizable()
