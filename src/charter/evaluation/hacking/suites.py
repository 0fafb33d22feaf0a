"""A shipped suite on a model in the middle of its training: its own solver and scorer, without Inspect's engine.

Inspect runs one evaluation at a time in a process, with logs and threads of its own. Inside a training neither is
wanted; the solver is given a `generate` that asks the policy for all samples of the suite at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from charter.ports import TextModel
from charter.records import Completion, Sampling


def suite_values(suite: str, model: TextModel, limit: int, seed: int) -> tuple[dict[str, float | None], Counter[str]]:
    """(the first metric of each sample, by its id; None where it is unscored; how many are, by reason).

    limit: samples drawn by the seed, as `charter eval` draws them. Greedy, as the suite asks for.
    """
    from charter.evaluation.tasks import TASKS

    task = TASKS[suite](limit, seed)
    return asyncio.run(_values(task, model))


async def _values(task: Any, model: TextModel) -> tuple[dict[str, float | None], Counter[str]]:
    ask = _Together(model, task.config.max_tokens or 128, len(task.dataset))
    found = await asyncio.gather(*(_one(task, sample, ask) for sample in task.dataset))
    unscored = Counter(reason for _, value, reason in found if value is None)
    return {identity: value for identity, value, _ in found}, unscored


async def _one(task: Any, sample: Any, ask: _Together) -> tuple[str, float | None, str]:
    """(sample id, its score, why there is none)."""
    from inspect_ai.model import ChatMessageUser, ModelName
    from inspect_ai.scorer import Target
    from inspect_ai.solver import TaskState

    from charter.evaluation.results import number

    asked = [ChatMessageUser(content=sample.input)] if isinstance(sample.input, str) else list(sample.input)
    target = Target(sample.target)
    state = TaskState(
        ModelName("charter/policy"), sample.id, 1, sample.input, asked, target, sample.choices, metadata=sample.metadata
    )
    try:
        try:
            state = await task.solver(state, ask.generate)
        finally:
            ask.leave()
        score = await task.scorer[0](state, target)
    except Exception as error:
        # A suite's solver or scorer may need more than a model that answers; a training must not end for it.
        return str(sample.id), None, f"{type(error).__name__}: {str(error)[:200]}"
    value = score.value
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    known = number(value)
    return str(sample.id), known, str(score.explanation or score.reason or "unscored, no reason given")


class _Together:
    """Samples' questions, put to the model when all that are still at work have asked one."""

    def __init__(self, model: TextModel, max_tokens: int, working: int) -> None:
        self._model, self._max_tokens, self._working = model, max_tokens, working
        self._asked: list[tuple[Any, int, asyncio.Future[Completion]]] = []

    async def generate(self, state: Any, **how: Any) -> Any:
        """As Inspect's: the state with the model's answer."""
        from inspect_ai.model import ModelOutput

        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._asked.append((state, how.get("max_tokens") or self._max_tokens, future))
        self._answer()
        said = await future
        if said.error is not None:
            raise RuntimeError(said.error)
        state.output = ModelOutput.from_content("charter/policy", said.text)
        state.messages.append(state.output.message)
        return state

    def leave(self) -> None:
        """A sample asks no more."""
        self._working -= 1
        self._answer()

    def _answer(self) -> None:
        from charter.evaluation.provider import conversation_of_chat

        if not self._asked or len(self._asked) < self._working:
            return
        asked, self._asked = self._asked, []
        for length in sorted({tokens for _, tokens, _ in asked}):
            mine = [(state, future) for state, tokens, future in asked if tokens == length]
            answers = self._model.generate([conversation_of_chat(s.messages) for s, _ in mine], Sampling(length))
            for (_, future), (answer,) in zip(mine, answers, strict=True):
                future.set_result(answer)
