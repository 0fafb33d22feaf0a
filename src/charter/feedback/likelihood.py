"""How likely given texts are as answers: what labels are read from when a model is too small to be asked for one.

A question is a prompt with several texts; the answer is a log-prob (nats) for each, or the reason why there is none.
A local model gives it for whole answers; an endpoint only for texts that are one token, such as "A" and "B".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from charter.errors import UserError
from charter.feedback.asking import MOST_FAILED, AnswerLog, question_key, unfinished
from charter.models.endpoint import EndpointModel, Passing
from charter.models.loading import LocalModel
from charter.ports import Progress
from charter.records import Conversation, as_row


@dataclass(frozen=True, slots=True)
class Texts:
    """A prompt and what could be said to it. `finished`: whether each text's end is the end of the turn."""

    prompt: Conversation
    texts: tuple[str, ...]
    finished: tuple[bool, ...]


Logprobs = tuple[float, ...] | str
"""A log-prob (nats) per text, or the reason why they could not be had."""


class Likelihood(Protocol):
    """Anything that tells how likely texts are."""

    @property
    def name(self) -> str: ...

    def logprobs(self, rows: Sequence[Texts], progress: Progress | None = None) -> list[Logprobs]:
        """One per row, in order. `progress` counts rows."""
        ...


class LocalLikelihood:
    """Likelihood of a model in this process, exact. What prompts begin with alike is computed once a row."""

    def __init__(self, local: LocalModel) -> None:
        self._local = local

    @property
    def name(self) -> str:
        return self._local.name

    def logprobs(self, rows: Sequence[Texts], progress: Progress | None = None) -> list[Logprobs]:
        """One per row, in order; a text that does not fit the context leaves its row without."""
        from charter.models.template import chat_format
        from charter.training.layout import Group
        from charter.training.logprobs import CompletionLogprobs
        from charter.training.scoring import ROW_TOKENS, logprob_sums

        format_ = chat_format(self._local.tokenizer)
        longest = getattr(self._local.model.config, "max_position_embeddings", None) or 10**9
        found: dict[str, Logprobs] = {}
        groups: list[Group] = []
        for number, row in enumerate(rows):
            try:
                prompt = format_.prompt_ids(row.prompt)
                texts = tuple(
                    format_.completion_ids(row.prompt, text, finished=whole)
                    for text, whole in zip(row.texts, row.finished, strict=True)
                )
            except UserError as error:
                found[str(number)] = str(error)
                continue
            if not all(texts):
                found[str(number)] = "an empty text"
            elif len(prompt) + max(map(len, texts)) > longest:
                found[str(number)] = f"longer than the model's context of {longest} tokens"
            else:
                groups.append(Group(str(number), prompt, texts))
        done = len(found)

        def report(now: int) -> None:
            if progress is not None:
                progress(done + now, len(rows))

        if groups:
            # Prompts of like beginning side by side, so that a row computes it once.
            groups.sort(key=lambda group: group.prompt)
            sums = logprob_sums(CompletionLogprobs(self._local.model), groups, ROW_TOKENS, report)
            found |= {key: tuple(values.tolist()) for key, values in sums.items()}
        return [found[str(number)] for number in range(len(rows))]


class EndpointLikelihood:
    """Likelihood of one-token texts at an endpoint that gives `top_logprobs`."""

    def __init__(self, endpoint: EndpointModel) -> None:
        self._endpoint = endpoint

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def tokens(self) -> tuple[int, int]:
        """Prompt and completion tokens so far, as the server counted them."""
        return self._endpoint.option_tokens

    def logprobs(self, rows: Sequence[Texts], progress: Progress | None = None) -> list[Logprobs]:
        """One per row, in order."""
        return self._endpoint.option_logprobs([(row.prompt, row.texts) for row in rows], progress)


class LoggedLikelihood:
    """Likelihood over another one, whose answers are kept in a log; reasons why there is none are not."""

    def __init__(self, inner: Likelihood, digest: str, log: AnswerLog, chunk: int = 128) -> None:
        self._inner, self._digest, self._log, self._chunk = inner, digest, log, chunk

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def counts(self) -> Counter[str]:
        """Questions answered, and an endpoint's tokens, whichever try they were given in."""
        total: Counter[str] = Counter()
        for answer in self._log.answers():
            if isinstance(answer, dict) and answer.get("of") == self._digest:
                total.update({name: count for name, count in answer.items() if name != "of"})
        return +total

    def logprobs(self, rows: Sequence[Texts], progress: Progress | None = None) -> list[Logprobs]:
        """One per row, in order. Raises Unfinished when an endpoint is down for more than 5% of a chunk."""
        keys = [question_key(self._digest, "logprobs", as_row(row)) for row in rows]
        kept = {key: answer for key in keys if (answer := self._log.get(key)) is not None}
        # JSON has no infinity.
        found: dict[str, Logprobs] = {
            key: tuple(-math.inf if one is None else one for one in answer) for key, answer in kept.items()
        }
        todo = list({key: row for key, row in zip(keys, rows, strict=True) if key not in found}.items())
        before = len(rows) - len(todo)
        for start in range(0, len(todo), self._chunk):
            part = todo[start : start + self._chunk]

            def report(now: int, _: int, before: int = before + start) -> None:
                if progress is not None:
                    progress(before + now, len(rows))

            before_tokens = getattr(self._inner, "tokens", (0, 0))
            answers = self._inner.logprobs([row for _, row in part], report)
            tokens = getattr(self._inner, "tokens", (0, 0))
            fresh = dict(zip((key for key, _ in part), answers, strict=True))
            self._log.add(
                {
                    key: [None if math.isinf(value) else value for value in one]
                    for key, one in fresh.items()
                    if not isinstance(one, str)
                }
                | self._account(fresh, tokens[0] - before_tokens[0], tokens[1] - before_tokens[1])
            )
            found |= fresh
            passing = [one for one in answers if isinstance(one, Passing)]
            if len(passing) > MOST_FAILED * len(part):
                raise unfinished(self.name, len(passing), len(part), passing[0], self._log)
        return [found[key] for key in keys]

    def _account(self, fresh: Mapping[str, Logprobs], prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        """A line of the log that says what a chunk took."""
        answered = [key for key, one in fresh.items() if not isinstance(one, str)]
        entry = {
            "of": self._digest,
            "likelihood questions answered": len(answered),
            "prompt tokens": prompt_tokens,
            "completion tokens": completion_tokens,
        }
        return {question_key("account", answered): entry} if answered else {}
