"""What models, judges and rewards say, and how a model is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from charter.records.messages import Conversation

Finish = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said. `token_logprobs` (nats) are of the distribution really sampled from.

    An endpoint that hides its tokens leaves `tokens` and `token_logprobs` empty and `logprob` None.
    `finish == "error"` carries the reason in `error` and an empty text.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprob: float | None = None
    token_logprobs: tuple[float, ...] = ()
    finish: Finish = "stop"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and what was answered: what a judge or a reward looks at."""

    id: str
    prompt: Conversation
    completion: str


@dataclass(frozen=True, slots=True)
class Score:
    """A judge's word on one exchange: `score` in [0, 1] and a label, or the reason why it is unscored."""

    id: str
    judge: str
    label: str | None = None
    score: float | None = None
    unscored: str | None = None


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A reward model's word on one exchange: higher is better; or the reason why it is unscored.

    `heads` are the values of an ensemble's heads, from which `reward` was read. `steps` are the scores of the
    completion's steps, where they are what it was made of. `parts` are the rewards that it is a sum of, by label and
    before they are weighed.
    """

    id: str
    reward: float | None = None
    heads: tuple[float, ...] = ()
    unscored: str | None = None
    steps: tuple[float, ...] = ()
    parts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. temperature 0 is greedy. `n` completions a prompt, each with its own random stream."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0
    stop: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Departure:
    """How far a policy is from its start along one sampled completion.

    kl: KL(policy || start) of each next token, in nats, summed over the completion's tokens.
    entropy: of the policy's next token, in nats, mean over them.  tokens: how many there are.
    """

    kl: float
    entropy: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Word:
    """What an observer wants of a training. stop: it ends here.  mark: remember the weights of now.

    back: the result is to be the weights marked last, not those of now; only where the training ends.
    """

    stop: bool = False
    mark: bool = False
    back: bool = False
