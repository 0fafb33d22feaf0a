"""One training method on one file: what `charter train` does."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from charter.document.marked import Marked, read_yaml
from charter.errors import UserError, nearest
from charter.feedback.formats import load, read_prompts
from charter.recipes.preflight import check_trainable
from charter.recipes.recipe import explain
from charter.recipes.rewards import aims_of, check_rewards
from charter.recipes.train_stage import run_method
from charter.recipes.watching import check_watch
from charter.records import write_text
from charter.store.runfolder import RunFolder
from charter.training.catalogue import CATALOGUE, method
from charter.training.devices import here
from charter.training.extras import check_installed
from charter.training.methods import Trained
from charter.training.rollouts import RolloutSettings
from charter.training.settings import TrainSettings
from charter.training.trackers import TRACKERS


def train_single(name: str, model: str, data: str, out: Path, config: Path | None, track: str | None = None) -> Trained:
    """Train by the method of that name into `out`; resumes what is there. `track` goes before the settings' own.

    Started by torchrun, all processes call it and the first one writes. Raises UserError on wrong input."""
    chosen = method(name)
    settings = _settings(chosen.settings, read_yaml(config) if config else None)
    if track is not None:
        if track not in TRACKERS:
            close = nearest(track, list(TRACKERS))
            raise UserError(f'--track "{track}" is no tracker.{close} Give {" or ".join(TRACKERS)}.')
        settings = settings.model_copy(update={"track": track})
    reads = CATALOGUE[name].reads
    rows: list[Any]
    rows, unread = read_prompts(data) if reads == "prompts" else load(data).as_kind(reads)
    check_trainable(model)
    check_installed(settings)
    if isinstance(settings, RolloutSettings):
        check_rewards(aims_of(settings))
    check_watch(settings)
    first = here().first
    with RunFolder(out).locked() if first else nullcontext():
        trained = run_method(name, model, rows, settings, out)
        trained.dropped.update(unread)
        if first:
            write_text(out / "dropped.json", json.dumps(dict(trained.dropped), indent=1))
        return trained


def _settings(kind: type[TrainSettings], marked: Marked | None) -> TrainSettings:
    value: Any = (marked.value if marked else None) or {}
    if marked and not isinstance(value, dict):
        raise UserError(f"{marked.path}: settings are a mapping of keys to values, such as `epochs: 2`.")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        if marked is None:
            missing = ", ".join(str(one["loc"][-1]) for one in error.errors())
            raise UserError(
                f"these settings have no default: {missing}. Write them to a YAML file, such as "
                f"`{error.errors()[0]['loc'][-1]}: …`, and name it with --config."
            ) from None
        raise UserError(explain(error, marked, kind)) from None
