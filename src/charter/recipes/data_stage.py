"""The data stage: from the charter and the recipe's sources to rows for SFT, rows for DPO, and held-out pairs."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from charter.document import Charter
from charter.evaluation import load_suite
from charter.feedback.answers import label_benign, label_pairs
from charter.feedback.formats import chosen_sides, desirable_ones
from charter.feedback.pairs import BuiltinPair, load_benign_prompts, load_pairs
from charter.overlap import near_duplicates
from charter.ports import Judge, TextModel
from charter.progress import Bar
from charter.recipes.feedback_stage import feedback_rows
from charter.recipes.file_source import read_file, wants_pairs, wants_prompts
from charter.recipes.recipe import DataSettings, FileSource, Recipe
from charter.recipes.voices import Voices
from charter.records import (
    Conversation,
    Demonstration,
    Preference,
    Prompt,
    Rated,
    Sampling,
    Scored,
    Stepwise,
    as_row,
    write_jsonl,
    write_text,
)
from charter.store.runfolder import file_digest

_TRAINED = ("demonstrations", "preferences", "ratings", "scored", "stepwise", "prompts")
"""The kinds of rows that training stages read, as they are named in `Rows`; each has a file."""
_KINDS = (*_TRAINED, "heldout")
DEMONSTRATIONS, PREFERENCES, RATINGS, SCORED, STEPWISE, PROMPTS, HELDOUT = (f"{kind}.jsonl" for kind in _KINDS)
COUNTS, SPENT = "counts.json", "spent.json"
MAX_OVERLAP = 0.5


T = TypeVar("T")
Record = Demonstration | Preference | Rated | Scored | Stepwise | Prompt
R = TypeVar("R", Demonstration, Preference, Rated, Scored, Stepwise, Prompt)


@dataclass
class Rows:
    """What the data stage gathers."""

    demonstrations: list[Demonstration] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    ratings: list[Rated] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)
    stepwise: list[Stepwise] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    heldout: list[Preference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def trained(self) -> tuple[Record, ...]:
        """All that a training stage may read."""
        return tuple(row for kind in _TRAINED for row in getattr(self, kind))


def needs_model(settings: DataSettings) -> bool:
    """Whether any source asks the untouched model."""
    return any(source is not None for source in (settings.pairs, settings.benign)) or gives_feedback(settings)


def gives_feedback(settings: DataSettings) -> bool:
    """Whether any source makes feedback from the charter."""
    sources = (settings.contrast, settings.distillation, settings.revision, settings.labels)
    return any(source is not None for source in sources)


def build_data(recipe: Recipe, charter: Charter, voices: Voices, judge: Judge, folder: Path) -> dict[str, Any]:
    """Gather every source, drop what overlaps with what is measured, write the rows; returns counts and digests.

    What models answered is kept in the stage's folder as it comes: a stage that was cut off asks only for the rest.
    """
    rows = Rows()
    settings = recipe.data
    model: TextModel | None = voices.policy.text if needs_model(settings) else None
    pairs = _pairs(settings, recipe.seed)
    if settings.pairs is not None and model is not None:
        own = settings.pairs
        with Bar("answers of the untouched model", len(pairs), "prompts") as bar:
            labelled = label_pairs(
                pairs,
                model,
                judge,
                benign_answers=own.benign_answers,
                opening=own.refusal_opening,
                refusal_sentences=own.refusal_sentences,
                refusal_weight=own.refusal_weight,
                harmful=Sampling(own.sample_tokens, own.temperature, seed=recipe.seed),
                benign=Sampling(own.answer_tokens, 0.0, seed=recipe.seed),
                progress=lambda done, _: bar.update(done),
            )
        _add(rows, labelled.demonstrations, labelled.preferences, labelled.counts)
    if settings.benign is not None and model is not None:
        prompts = _drawn(load_benign_prompts(settings.benign.kinds), settings.benign.limit, f"{recipe.seed}/benign")
        with Bar("own answers to benign prompts", len(prompts), "prompts") as bar:
            labelled = label_benign(
                prompts,
                model,
                judge,
                sampling=Sampling(settings.benign.answer_tokens, 0.0, seed=recipe.seed),
                progress=lambda done, _: bar.update(done),
            )
        _add(rows, labelled.demonstrations, labelled.preferences, labelled.counts)
    for labelled in feedback_rows(recipe, charter, voices, judge, folder, pairs) if gives_feedback(settings) else ():
        _add(rows, labelled.demonstrations, labelled.preferences, labelled.counts)
    for source in settings.files:
        _add_file(rows, source, recipe)
    _drop_measured(rows, recipe.suites)
    rows.counts += voices.counts()
    if needs_model(settings):
        write_text(folder / SPENT, json.dumps(voices.account(), indent=1))
    return _write(rows, folder)


def _pairs(settings: DataSettings, seed: int) -> list[BuiltinPair]:
    if settings.pairs is None:
        return []
    drawn: list[BuiltinPair] = []
    for kind in settings.pairs.kinds:
        drawn += _drawn(load_pairs((kind,)), settings.pairs.limit, f"{seed}/{kind}")
    return drawn


def _drawn(rows: list[T], limit: int | None, seed: str) -> list[T]:
    """At most `limit` rows, drawn by the seed; all, in order, without one."""
    return rows if limit is None else random.Random(seed).sample(rows, min(limit, len(rows)))


def _add(rows: Rows, demonstrations: list[Demonstration], preferences: list[Preference], counts: Counter[str]) -> None:
    rows.demonstrations += demonstrations
    rows.preferences += preferences
    rows.counts += counts


def _add_file(rows: Rows, source: FileSource, recipe: Recipe) -> None:
    found, seed = read_file(source, wants_pairs(recipe), wants_prompts(recipe)), recipe.seed
    name = Path(source.path).name
    draw = random.Random(f"{seed}/{name}")
    # Training keeps what it knows of a row by its id: two files may both have a row "1".
    taken = {row.id for row in (*rows.trained(), *rows.heldout)}
    preferences = [_stamped(row, source, taken) for row in _shuffled(found.preferences, draw, source.limit)]
    demonstrations = [_stamped(row, source, taken) for row in _shuffled(found.demonstrations, draw, source.limit)]
    ratings = [_stamped(row, source, taken) for row in _shuffled(found.ratings, draw, source.limit)]
    # Scored completions of a held-out prompt are held out with it, below.
    scored = [_stamped(row, source, taken) for row in _shuffled(found.scored, draw, source.limit)]
    stepwise = [_stamped(row, source, taken) for row in _shuffled(found.stepwise, draw, source.limit)]
    prompts = [_stamped(row, source, taken) for row in _shuffled(found.prompts, draw, source.limit)]
    preferences = [replace(row, strength=row.strength * source.weight) for row in preferences]
    demonstrations = [replace(row, weight=row.weight * source.weight) for row in demonstrations]
    ratings = [replace(row, weight=row.weight * source.weight) for row in ratings]
    # Split by the first user turn, not by row: the same question never stands on both sides.
    asked = sorted({_first_user(p.prompt) for p in preferences})
    random.Random(f"{seed}/holdout").shuffle(asked)
    held = set(asked[: round(len(asked) * source.holdout)])
    kept = [row for row in preferences if _first_user(row.prompt) not in held]
    rows.heldout += [row for row in preferences if _first_user(row.prompt) in held]
    rows.preferences += kept
    rows.ratings += ratings
    rows.stepwise += stepwise
    rows.prompts += prompts
    rows.scored += [row for row in scored if _first_user(row.prompt) not in held]
    rows.demonstrations += [*chosen_sides(kept), *demonstrations, *desirable_ones(ratings)[0]]
    found_here: dict[str, Sequence[Record]] = {
        "pairs": preferences,
        "demonstrations": demonstrations,
        "ratings": ratings,
        "scored": scored,
        "stepwise": stepwise,
        "prompts": prompts,
    }
    rows.counts += Counter({f"{name}: {what}": len(these) for what, these in found_here.items()})
    rows.dropped += found.dropped


def _shuffled(found: Sequence[T], draw: random.Random, limit: int | None) -> list[T]:
    drawn = list(found)
    draw.shuffle(drawn)
    return drawn[:limit]


def _stamped(row: R, source: FileSource, taken: Collection[str]) -> R:
    identity = row.id if row.id not in taken else f"{source.path}:{row.id}"
    return replace(row, id=identity, source=Path(source.path).name)


def _drop_measured(rows: Rows, suites: tuple[str, ...]) -> None:
    """Rows whose prompt is a near-duplicate of something measured: of the suites, or of the held-out pairs."""
    measured = [sample.prompt for suite in suites for sample in load_suite(suite)]
    measured += [_first_user(preference.prompt) for preference in rows.heldout]
    texts = list({_first_user(row.prompt): None for row in rows.trained()})
    close = {texts[index] for index, _, _ in near_duplicates(texts, measured, MAX_OVERLAP)}
    if not close:
        return
    rows.dropped["prompt is a near-duplicate of an evaluation prompt"] += len(close)
    for kind in _TRAINED:
        setattr(rows, kind, [row for row in getattr(rows, kind) if _first_user(row.prompt) not in close])


def _first_user(prompt: Conversation) -> str:
    return next((message.content for message in prompt if message.role == "user"), "")


def _write(rows: Rows, folder: Path) -> dict[str, Any]:
    gathered: dict[str, list[Record]] = {kind: getattr(rows, kind) for kind in _KINDS}
    for kind, these in gathered.items():
        write_jsonl(folder / f"{kind}.jsonl", map(as_row, these))
    write_text(folder / COUNTS, json.dumps({"counts": rows.counts, "dropped": rows.dropped}, indent=1))
    return {
        **{kind: len(these) for kind, these in gathered.items()},
        "counts": dict(rows.counts),
        "dropped": dict(rows.dropped),
        "digests": {name: file_digest(folder / name) for name in map("{}.jsonl".format, _KINDS)},
    }
