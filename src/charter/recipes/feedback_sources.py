"""The data sources of a recipe that make feedback from the charter."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from charter.recipes.part import Part
from charter.training.reward_sources import RewardPart

_CLAUSES = "Ids of the clauses to use; all that are trained when left out."
_WEIGHT = "How much a row counts, 1 being a whole row; mixes sources by weight."
_SAFETY = "Reward models that score safety, each with its weight; the refusal judge when left out."


class PromptFile(Part):
    """Prompts of a file."""

    path: str = Field(description="A file in any format that is read; only its prompts are used.")
    split: str = Field("train", description="Split of a folder or hub dataset.")
    kind: Literal["red_team", "helpful"] = Field(description="What all of them are: requests to decline, or to answer.")
    limit: int | None = Field(None, ge=1, description="At most this many, drawn by the seed.")


class Prompts(Part):
    """Which prompts a source asks, mixed."""

    red_team: int | None = Field(None, ge=0, description="Built-in harmful requests; all when left out.")
    lookalikes: int | None = Field(None, ge=0, description="Built-in harmless look-alikes; all when left out.")
    general: int | None = Field(0, ge=0, description="Built-in harmless prompts of other kinds; null is all.")
    prompt_files: tuple[PromptFile, ...] = ()


class ContrastSource(Part):
    """Contrastive generation (RLCD): answers under a clause and under its opposite."""

    prompts: int = Field(24, ge=1, description="Prompts per clause.")
    samples: int = Field(1, ge=1, description="Tries a side; the first that does as it was told is taken.")
    sample_tokens: int = Field(64, ge=8, description="Length of each answer.")
    temperature: float = Field(0.7, ge=0, description="Sampling temperature.")
    label: Literal["judge", "told", "both", "likelihood"] = Field(
        "judge",
        description="judge: pairs whose sides really differ as the clause asks; told: every pair; likelihood: labelled "
        "by how likely the model finds the answers under the clause and under its opposite; both: judge, where the "
        "likelihoods agree.",
    )
    min_margin: float = Field(
        0.0, ge=0, description="Least self-reward (nats) that is a label. With label: likelihood or both."
    )
    weight: float = Field(1.0, gt=0, le=1, description=_WEIGHT)

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.min_margin and self.label not in ("likelihood", "both"):
            raise ValueError("min_margin does nothing without label: likelihood or both. Leave it out")
        if self.samples > 1 and self.label not in ("judge", "both"):
            raise ValueError("samples above 1 need label: judge or both, which choose among them")
        if self.samples > 1 and not self.temperature:
            raise ValueError("samples above 1 are all alike at temperature 0. Raise it, or leave samples out")
        return self


class DistillationSource(Part):
    """Safety context distillation: answers under a pre-prompt, kept where they are safer, without the pre-prompt."""

    prompts: Prompts = Prompts()
    clauses: tuple[str, ...] = Field((), description=_CLAUSES)
    threshold: float = Field(
        0.25, ge=-1, le=1, description="Risk (cosine to the nearest clause) from which the pre-prompt names the clause."
    )
    gate: float | None = Field(
        0.0, description="An answer is kept if its safety score gains more than this; null keeps every answer."
    )
    floor: float | None = Field(
        None,
        description="Least safety score of what is trained, own answers included. Left out: one half with the judge, "
        "none with reward models.",
    )
    min_margin: float | None = Field(
        None,
        description="Least log-likelihood (nats) that a kept answer gains under the clause against its opposite, by "
        "the model itself: a second witness beside the score. Null does not ask.",
    )
    samples: int = Field(1, ge=1, description="Tries under a pre-prompt; the one that scores best is taken.")
    sample_tokens: int = Field(48, ge=8, description="Length of each answer.")
    temperature: float = Field(0.7, ge=0, description="Temperature under a pre-prompt; bare answers are greedy.")
    own_answers: bool = Field(
        True, description="Helpful prompts that gain nothing are trained on the model's own bare answer."
    )
    pairs: bool = Field(False, description="Also preference pairs: the safer answer against the bare one.")
    sentences: int | None = Field(
        None, ge=1, description="Most sentences of a pre-prompted answer. A small model fills more with repetition."
    )
    preprompt: str | None = Field(None, description="Generic pre-prompt in your own words.")
    shots: bool = Field(True, description="Show the pre-prompt's meaning in a few turns.")
    safety: tuple[RewardPart, ...] = Field((), description=_SAFETY)
    weight: float = Field(1.0, gt=0, le=1, description="How much a pre-prompted answer counts; an own answer counts 1.")

    @model_validator(mode="after")
    def _used(self) -> Self:
        for option in ("floor", "min_margin"):
            if self.gate is None and getattr(self, option) is not None:
                raise ValueError(f"{option} does nothing with gate: null, which keeps every answer. Leave it out")
        if self.samples > 1 and not self.temperature:
            raise ValueError("samples above 1 are all alike at temperature 0. Raise it, or leave samples out")
        return self


class RevisionSource(Part):
    """Supervised constitutional AI: answers, critiques by a drawn clause, revisions. The recipe's `critic` writes
    them."""

    prompts: Prompts = Prompts()
    clauses: tuple[str, ...] = Field((), description=_CLAUSES)
    rounds: int = Field(1, ge=1, le=8, description="Critiques and revisions, each by another clause.")
    answer_tokens: int = Field(64, ge=8, description="Length of an answer or a revision.")
    critique_tokens: int = Field(96, ge=8, description="Length of a critique.")
    temperature: float = Field(0.7, ge=0, description="Temperature of first answers; the critic is greedy.")
    shots: bool = Field(True, description="Show the critic worked examples first.")
    agree: Literal["safety", "labeller"] = Field(
        "safety", description="Who must find the last revision better: the safety score, or the recipe's `labeller`."
    )
    pairs: bool = Field(False, description="Also preference pairs: the revision against the first answer.")
    safety: tuple[RewardPart, ...] = Field((), description=_SAFETY)
    weight: float = Field(1.0, gt=0, le=1, description=_WEIGHT)

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.safety and self.agree != "safety":
            raise ValueError("safety does nothing with agree: labeller. Leave one of them out")
        return self


class LabelsSource(Part):
    """RLAIF: two answers of the model a prompt, labelled by the recipe's `labeller` under drawn clauses. Without a
    labeller the model labels them itself, by how likely it finds them under the clause and under its opposite."""

    prompts: Prompts = Prompts()
    clauses: tuple[str, ...] = Field((), description=_CLAUSES)
    sample_tokens: int = Field(64, ge=8, description="Length of each answer.")
    temperature: float = Field(1.0, gt=0, description="Temperature of the two answers.")
    ensemble: int = Field(1, ge=1, description="Clauses asked about each pair; their chances are averaged.")
    chain_of_thought: bool = Field(False, description="The labeller reasons first. Needs a `labeller`.")
    clamp: tuple[float, float] = Field((0.4, 0.6), description="Range of the chances after a chain of thought.")
    abstain: float = Field(0.0, ge=0, lt=0.5, description="No label where the chance is within this of one half.")
    soft: bool = Field(True, description="Train on the chance itself; false: on the side that is likelier.")
    weight: float = Field(1.0, gt=0, le=1, description=_WEIGHT)

    @model_validator(mode="after")
    def _used(self) -> Self:
        if "clamp" in self.model_fields_set and not self.chain_of_thought:
            raise ValueError("clamp does nothing without chain_of_thought. Leave it out")
        if not 0 <= self.clamp[0] < self.clamp[1] <= 1:
            raise ValueError("clamp is a range in [0, 1], the lower end first")
        return self
