"""recipe.yaml: model, data, training stages, gate."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charter.document.marked import Location, Marked, read_yaml
from charter.errors import UserError, nearest
from charter.evaluation.gate import MetricGate
from charter.feedback.pairs import BenignKind
from charter.training.catalogue import CATALOGUE, method
from charter.training.methods import AnySettings

SUITES = ("harmful_requests", "benign_lookalikes", "instruction_following", "knowledge")


ANSWER_TOKENS = 32
_ANSWER_TOKENS = "Length to which the model's own answers are taken; longer ones are trained as unfinished beginnings."


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PairsSource(_Part):
    """The built-in pairs."""

    kinds: tuple[Literal["harmful", "lookalike", "plain"], ...] = Field(
        ("harmful", "lookalike", "plain"), description="Which of them to use."
    )
    limit: int | None = Field(None, ge=1, description="At most this many of each kind, drawn by the seed.")
    benign_answers: Literal["own", "written"] = Field(
        "own",
        description="Chosen side of benign prompts: the untouched model's own answer, which keeps its manner and "
        "abilities, or the written one. An own answer that the judge calls a refusal is replaced by the written one.",
    )
    refusal_opening: str | None = Field(
        None, description="First sentence of every refusal, in your own words; the written variety when left out."
    )
    refusal_sentences: int | None = Field(
        None,
        ge=1,
        description="Most sentences of a refusal, its opening among them. A small model fills more with repetition, or "
        "with an offer to do it after all.",
    )
    refusal_weight: float = Field(
        1.0, gt=0, description="How much a refusal counts in SFT against an answer; less of it, and less is refused."
    )
    sample_tokens: int = Field(64, ge=8, description="Length of what the untouched model is asked to say.")
    answer_tokens: int = Field(ANSWER_TOKENS, ge=8, description=_ANSWER_TOKENS)
    temperature: float = Field(0.7, ge=0, description="Temperature of the sampled rejected sides.")


class BenignSource(_Part):
    """The untouched model's own answers to built-in harmless prompts, as demonstrations."""

    kinds: tuple[BenignKind, ...] = Field(
        ("alarming", "general"),
        min_length=1,
        description="What sounds dangerous; facts, tasks and chat.",
    )
    answer_tokens: int = Field(ANSWER_TOKENS, ge=8, description=_ANSWER_TOKENS)
    limit: int | None = Field(None, ge=1, description="At most this many prompts, drawn by the seed.")


class ContrastSource(_Part):
    """Contrastive generation (RLCD): answers under a clause and under its opposite, kept where a judge agrees."""

    prompts: int = Field(24, ge=1, description="Prompts per clause.")
    sample_tokens: int = Field(64, ge=8, description="Length of each answer.")
    temperature: float = Field(0.7, ge=0, description="Sampling temperature.")


class FileSource(_Part):
    """A file or hub dataset: preference pairs, or completions to imitate."""

    path: str = Field(description="JSONL, JSON, Parquet or CSV file, a folder of them, or hub id `org/name`.")
    split: str = Field("train", description="Split of a hub dataset.")
    limit: int | None = Field(None, ge=1, description="At most this many rows, drawn by the seed.")
    holdout: float = Field(0.0, ge=0, le=0.5, description="Share of prompts kept out of training, to test on.")


class DataSettings(_Part):
    """Where the training data comes from."""

    pairs: PairsSource | None = None
    benign: BenignSource | None = None
    contrast: ContrastSource | None = None
    files: tuple[FileSource, ...] = ()


class Recipe(_Part):
    """A whole run."""

    recipe: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="Also the run folder's name under runs/.")
    model: str = Field(description="One-string name of the model to align.")
    charter: str | None = Field(None, description="Charter file, relative to the recipe; the starter when left out.")
    locale: str | None = None
    audience: str | None = None
    jurisdiction: str | None = None
    seed: int = Field(0, ge=0, description="Seed of sampling, data order and adapters, unless a stage sets its own.")
    suites: tuple[str, ...] = Field(SUITES, description="Measured before and after; empty for none.")
    limit: int | None = Field(None, ge=1, description="At most this many samples a suite, for a quick look.")
    data: DataSettings
    train: tuple[AnySettings, ...] = Field(min_length=1)
    gate: dict[str, MetricGate] | None = Field(
        None,
        description="What each metric must show; by default refusals must rise and the rest not fall by 10 points.",
    )


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Raises UserError naming file and line, with the nearest right name."""
    marked = read_yaml(path)
    if not isinstance(marked.value, dict):
        raise UserError(f"{path}: a recipe is a mapping with recipe, name, model, data and train. See examples/.")
    try:
        recipe = Recipe.model_validate(marked.value)
    except ValidationError as error:
        raise UserError(explain(error, marked, Recipe)) from None
    # The recipe's seed is every stage's, unless the stage names its own.
    stages = tuple(
        stage if "seed" in stage.model_fields_set else stage.model_copy(update={"seed": recipe.seed})
        for stage in recipe.train
    )
    return recipe.model_copy(update={"train": stages})


def explain(error: ValidationError, marked: Marked, root: type[BaseModel]) -> str:
    """One paragraph on the first thing wrong: file, line, key, and the nearest right name."""
    errors = error.errors(include_url=False)
    # A list whose items are wrong is also called too short, for want of right ones: what is inside comes first.
    places = [one["loc"] for one in errors]
    inner = [one for one in errors if not any(p != one["loc"] and p[: len(one["loc"])] == one["loc"] for p in places)]
    first = min(inner, key=lambda one: marked.line(_plain(one["loc"], marked)))
    kind, location = first["type"], _plain(first["loc"], marked)
    if kind == "missing":
        location = (*location, str(first["loc"][-1]))
    name = ".".join(map(str, location))
    where = f"{marked.path}, line {marked.line(location)}" + (f": {name}" if name else "")
    if kind == "extra_forbidden":
        known = _keys_at(first["loc"], root)
        return f"{where}: unknown key.{nearest(str(location[-1]), known)} The keys here are {', '.join(known)}."
    if kind == "missing":
        return f"{where}: is missing. Add the line `{location[-1]}: …`."
    if kind == "union_tag_not_found":
        return f"{where}: has no method. Add `method: …`, one of {', '.join(CATALOGUE)}."
    message = first["msg"].removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        tag = str(first["ctx"]["tag"])
        message = f'there is no training method "{tag}".{nearest(tag, list(CATALOGUE))} Methods: {", ".join(CATALOGUE)}'
    elif kind == "literal_error":
        options = re.findall(r"'([^']*)'", str(first["ctx"]["expected"]))
        message += nearest(str(first["input"]), options).rstrip(".")
    return f"{where}: {message} (got {str(first['input'])[:60]!r})."


def _plain(loc: tuple[Any, ...], marked: Marked) -> Location:
    """A pydantic location as far as it is in the file: without the tags that unions add."""
    steps = tuple(step for i, step in enumerate(loc) if not (i == 2 and loc[0] == "train" and step in CATALOGUE))
    while steps and steps not in marked.lines:
        steps = steps[:-1]
    return steps


def _keys_at(loc: tuple[Any, ...], root: type[BaseModel]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "data": DataSettings,
        "pairs": PairsSource,
        "benign": BenignSource,
        "contrast": ContrastSource,
        "files": FileSource,
        **{name: method(name).settings for name in CATALOGUE},
        "gate": MetricGate,
    }
    from charter.models.lora import LoraSettings
    from charter.training.reward_sources import RewardPart

    models["lora"] = LoraSettings
    # A list of rewards or costs; without an index behind it, each is the method of that name.
    path = [
        "reward[]" if pair[0] in ("reward", "cost") and isinstance(pair[1], int) else pair[0] for pair in pairwise(loc)
    ]
    models["reward[]"] = RewardPart
    inner = next((models[step] for step in reversed(path) if step in models), None) or _nested(loc, root)
    return list(inner.model_fields)


def _nested(loc: tuple[Any, ...], model: type[BaseModel]) -> type[BaseModel]:
    """The settings that hold the last key of a location, by the types of the fields on the way."""
    for step in loc[:-1]:
        field = model.model_fields.get(str(step))
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return model
