"""What a run's settings ask for beyond the base installation or one process, checked before any work is done."""

from __future__ import annotations

from charter.errors import UserError
from charter.models.quantize import check_quantizable
from charter.training.devices import launched
from charter.training.optimizer import eight_bit
from charter.training.settings import TrainSettings
from charter.training.trackers import client


def check_installed(settings: TrainSettings) -> None:
    """Raises UserError, naming the command that installs it, for a library that the settings need and that is missing,
    for 4-bit weights where there is no CUDA device, and as `check_processes` does."""
    check_processes(settings)
    if settings.optimizer == "adamw_8bit":
        eight_bit()
    if settings.track is not None:
        client(settings.track)
    if settings.lora is not None and settings.lora.quantize:
        check_quantizable()


def check_processes(settings: TrainSettings) -> None:
    """Raises UserError, where several processes train together (`devices.py`), for what does not follow their cuts."""
    if launched()[1] == 1:
        return
    if settings.optimizer != "adamw":
        raise UserError(
            f"`optimizer: {settings.optimizer}` trains in one process so far: its blocks do not follow the cuts of the "
            "shards. Start it without torchrun, or leave the option out."
        )
    if settings.lora is not None and settings.lora.quantize:
        raise UserError(
            f"`lora: {{quantize: {settings.lora.quantize}}}` trains in one process so far. Start it without torchrun, "
            "or leave the option out."
        )
