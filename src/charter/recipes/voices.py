"""Who speaks in a recipe's feedback sources: the model itself, a critic, a labeller; each asked once, by one log."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from charter.errors import UserError
from charter.feedback.asking import AnswerLog, LoggedModel
from charter.feedback.likelihood import EndpointLikelihood, LocalLikelihood, LoggedLikelihood
from charter.models.loading import named_digest
from charter.models.names import is_endpoint, text_model

if TYPE_CHECKING:
    from charter.models.endpoint import EndpointModel, EndpointSettings
    from charter.models.generation.local import LocalTextModel
    from charter.recipes.recipe import Recipe

ANSWERS = "answers.jsonl"
_CHUNK, _ENDPOINT_CHUNK = 256, 64


@dataclass
class Voice:
    """One model, loaded when it is first asked."""

    name: str
    log: AnswerLog
    endpoint: EndpointSettings | None = None

    @cached_property
    def _model(self) -> LocalTextModel | EndpointModel:
        found = text_model(self.name, endpoint=self.endpoint)
        return cast("LocalTextModel | EndpointModel", found)

    @cached_property
    def text(self) -> LoggedModel:
        """It answers."""
        return LoggedModel(self._model, voice_digest(self.name), self.log, self._chunk)

    @cached_property
    def likelihood(self) -> LoggedLikelihood:
        """It tells how likely texts are; an endpoint only of single tokens."""
        from charter.models.endpoint import EndpointModel

        model = self._model
        inner = EndpointLikelihood(model) if isinstance(model, EndpointModel) else LocalLikelihood(model.local)
        return LoggedLikelihood(inner, voice_digest(self.name), self.log, self._chunk)

    @property
    def _chunk(self) -> int:
        return _ENDPOINT_CHUNK if is_endpoint(self.name) else _CHUNK

    def counts(self) -> Counter[str]:
        """What it was asked and what that took; nothing where it was not asked."""
        total: Counter[str] = Counter()
        if "text" in self.__dict__:
            total += self.text.counts
        if "likelihood" in self.__dict__:
            total += self.likelihood.counts
        return total

    def cost(self) -> float | None:
        """What the tokens cost at the recipe's prices; None for local models, or without prices."""
        if self.endpoint is None or self.endpoint.price is None or not is_endpoint(self.name):
            return None
        counts = self.counts()
        prompt, completion = self.endpoint.price
        return (counts["prompt tokens"] * prompt + counts["completion tokens"] * completion) / 1e6


@dataclass
class Voices:
    """All of a recipe; the same name is the same voice."""

    recipe: Recipe
    folder: Path
    _known: dict[str, Voice] = field(default_factory=dict)

    @cached_property
    def log(self) -> AnswerLog:
        """The one log, in the stage's folder."""
        return AnswerLog(self.folder / ANSWERS)

    def of(self, name: str) -> Voice:
        """The voice of that name."""
        return self._known.setdefault(name, Voice(name, self.log, self.recipe.endpoint))

    @property
    def policy(self) -> Voice:
        return self.of(self.recipe.model)

    @property
    def critic(self) -> Voice:
        return self.of(self.recipe.critic or self.recipe.model)

    @property
    def labeller(self) -> Voice:
        if self.recipe.labeller is None:
            raise UserError("labeller: none is named. Add `labeller:` with a model or an endpoint to the recipe.")
        return self.of(self.recipe.labeller)

    def counts(self) -> Counter[str]:
        """What every voice was asked, named by it."""
        named = [(voice.name, voice.counts()) for voice in self._known.values()]
        return Counter({f"{name}: {what}": count for name, counts in named for what, count in counts.items()})

    def account(self) -> dict[str, dict[str, float | None]]:
        """By voice, what it was asked, its tokens and its cost."""
        return {voice.name: {**voice.counts(), "cost": voice.cost()} for voice in self._known.values()}


def voice_digest(name: str) -> str:
    """What an answer depends on: the digest of local weights, or the endpoint's name."""
    return name if is_endpoint(name) else named_digest(name)
