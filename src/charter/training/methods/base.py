"""What every training method is made of: settings, a function from rows to a model in a folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from charter.errors import UserError
from charter.records import Preference, write_text
from charter.training.devices import here
from charter.training.loop import TrainResult
from charter.training.policy import Policy
from charter.training.settings import TrainSettings


@dataclass(frozen=True)
class Trained:
    """A finished training: where the model is, and what was left out of the data."""

    model: Path
    rows: int
    dropped: Counter[str]
    result: TrainResult


@dataclass(frozen=True)
class Method:
    """A method: its settings (whose `method` field is its name) and `run(model, rows, settings, folder)`.

    The rows are those that the catalogue names; the result is `folder/model`, and a killed run is resumed. A method
    that reads prompts samples its own completions and takes the Reward that scores them as a fifth argument. One whose
    settings have a `watch` takes an `observer`.
    """

    settings: type[TrainSettings]
    run: Callable[..., Trained]


def need_rows(groups: Sequence[object], rows: Sequence[object], dropped: Counter[str], title: str) -> None:
    """Raises UserError when no row can be used."""
    if not groups:
        why = ", ".join(f"{reason}: {count}" for reason, count in dropped.items()) or "the data is empty"
        raise UserError(f"{title}: none of the {len(rows)} rows can be used ({why}). Check the data, or `max_tokens`.")


def check_strengths(rows: Sequence[Preference], title: str) -> None:
    """Raises UserError for a strength that is not in (0, 1]."""
    for row in rows:
        if not 0 < row.strength <= 1:
            raise UserError(f"{title}: row {row.id} has strength {row.strength}; it must be above 0 and at most 1.")


def finish(policy: Policy, folder: Path, rows: int, dropped: Counter[str], result: TrainResult) -> Trained:
    """Save the trained policy as `folder/model`, beside the counts of what was dropped."""
    policy.save(folder / "model")
    if here().first:
        write_text(folder / "dropped.json", json.dumps(dict(dropped), indent=1))
    return Trained(folder / "model", rows, dropped, result)
