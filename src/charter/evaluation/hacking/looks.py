"""A look: what was measured of a policy at one step of its training, prompt by prompt; a line of watch.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Place = Literal["near", "far"]
"""Prompts like the training's; prompts of another source."""
Values = Mapping[str, float | None]
"""By prompt, a number, or None where nobody could say."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A completion sampled from the policy at temperature 1.

    kl, entropy: as in `Departure`; None for a completion that failed.  repetition: share of its word 3-grams that stood
    in it before.
    """

    id: str
    text: str
    tokens: int
    finished: bool
    kl: float | None
    entropy: float | None
    repetition: float


@dataclass(frozen=True, slots=True)
class Look:
    """One measurement.

    proxy: by place.  truth: by name; higher is better for both.  distinct: by place, of word 1-grams and 2-grams.
    unscored: per measure, how many prompts have no value, by reason.  identity: of what is measured and how.
    """

    identity: str
    step: int
    steps: int
    seconds: float
    sampled: Mapping[Place, Sequence[Sampled]]
    distinct: Mapping[Place, Sequence[float]]
    proxy: Mapping[Place, Values]
    truth: Mapping[str, Values]
    unscored: Mapping[str, Mapping[str, int]]

    def row(self) -> dict[str, Any]:
        """As a line of watch.jsonl."""
        return asdict(self)


def look_from(row: Mapping[str, Any]) -> Look:
    """A look from its line. Raises KeyError or TypeError for one that is none."""
    sampled = {place: tuple(Sampled(**one) for one in rows) for place, rows in row["sampled"].items()}
    return Look(**{**row, "sampled": sampled})
