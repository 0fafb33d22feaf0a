"""The training methods by name, without importing any of them: help pages and error messages need no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from charter.errors import UserError, nearest

if TYPE_CHECKING:
    from charter.training.methods.base import Method

Reads = Literal["demonstrations", "preferences"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue. `module` (under `charter.training.methods`) holds the method as METHOD."""

    module: str
    reads: Reads
    summary: str


CATALOGUE: Final[Mapping[str, Entry]] = {
    "sft": Entry("sft", "demonstrations", "Supervised fine-tuning on demonstrations, or on the chosen side of pairs."),
    "dpo": Entry("dpo", "preferences", "Direct preference optimisation; the reference is the model itself."),
}


def method(name: str) -> Method:
    """The method of that name. Raises UserError for an unknown one, with the nearest right name."""
    if name not in CATALOGUE:
        known = list(CATALOGUE)
        raise UserError(f'there is no training method "{name}".{nearest(name, known)} Methods: {", ".join(known)}.')
    found: Method = importlib.import_module(f"charter.training.methods.{CATALOGUE[name].module}").METHOD
    return found
