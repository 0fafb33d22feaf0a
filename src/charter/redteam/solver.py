"""Attacks as an Inspect solver: `inspect eval TASK --solver charter/attack -S name=persona --model …`.

The solver asks the model under evaluation through Inspect, whatever provider it has, so that limits, logs and retries
are Inspect's. What attacks need beyond that (weights, a helper model) only `charter redteam run` has.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from inspect_ai.model import GenerateConfig, ModelOutput, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from charter.errors import UserError
from charter.evaluation.judging import BatchingJudge
from charter.evaluation.tasks import message_of_chat
from charter.ports import Judge
from charter.records import Completion, Exchange, Sampling, user_prompt
from charter.redteam.protocol import Answer, Attack, Behaviour, NotPossible, Query, Setting
from charter.redteam.registry import attacks_named
from charter.redteam.scoring import answer_of, attack_judge, default_judge, getting_through


@solver
def attack(name: str, budget: int = 10, judge: str | None = None, max_tokens: int = 96, seed: int = 0) -> Solver:
    """Attack with each sample's input as the behaviour; the state ends with what got through, or came nearest.

    name: one attack, or a composition. The sample's input stays as it was, for scorers. The store has `charter_attack`
    with the queries made and whether one got through, by `judge`. An attack that cannot be made leaves the sample's
    error. Raises UserError for an unknown attack, or one that needs more than a model to ask.
    """
    chosen, by = one_attack(name), _judge(judge or default_judge())

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        behaviour = Behaviour(str(state.sample_id), state.input_text)
        search = chosen.search(behaviour, Setting(budget, Sampling(max_tokens, seed=seed), seed))
        best: tuple[Query, Answer, ModelOutput] | None = None
        queries, answers = 0, None
        try:
            while True:
                asked = next(search) if answers is None else search.send(answers)
                outputs = await asyncio.gather(*(_ask(query) for query in asked))
                answers = list(await asyncio.gather(*(by.word(behaviour, output) for output in outputs)))
                queries += len(asked)
                for found in zip(asked, answers, outputs, strict=True):
                    if best is None or _rank(found[1]) > _rank(best[1]):
                        best = found
        except StopIteration:
            pass
        except NotPossible as reason:
            raise RuntimeError(f"{name}: {reason}") from None
        if best is not None:
            query, answer, output = best
            state.messages = [*map(message_of_chat, query.prompt), output.message]
            state.output = output
            told: dict[str, Any] = {
                "attack": name,
                "queries": queries,
                "success": answer.success,
                "score": answer.score,
            }
            state.store.set("charter_attack", told | {"techniques": list(chosen.spec.techniques)})
        return state

    return solve


def one_attack(name: str) -> Attack:
    """The attack of that name. Raises UserError for several, or for one that a model to ask is not enough for."""
    found = attacks_named(name)
    if len(found) != 1:
        raise UserError(f'"{name}" names {len(found)} attacks, and a solver is one. Name a single one.')
    needs = found[0].spec.needs
    if needs:
        raise UserError(f'"{name}" needs {", ".join(needs)}, which a solver has not. Use `charter redteam run`.')
    return found[0]


class _Word:
    """A judge's word on one answer at a time, judged in batches."""

    def __init__(self, judge: Judge) -> None:
        self._through = getting_through(judge)
        self._judge = BatchingJudge(lambda: judge, judge.name)

    async def word(self, behaviour: Behaviour, output: ModelOutput) -> Answer:
        completion = Completion(output.completion)
        row = Exchange(behaviour.id, user_prompt(behaviour.text), completion.text)
        return answer_of(completion, await self._judge.score(row), self._through)


@cache
def _judge(name: str) -> _Word:
    return _Word(attack_judge(name))


async def _ask(query: Query) -> ModelOutput:
    sampling = query.sampling
    config = GenerateConfig(
        max_tokens=sampling.max_tokens, temperature=sampling.temperature, top_p=sampling.top_p, seed=sampling.seed
    )
    messages = [message_of_chat(message) for message in query.prompt]
    return await get_model().generate(messages, config=config)


def _rank(answer: Answer) -> tuple[bool, bool, float]:
    return answer.success is True, answer.score is not None, answer.score or 0.0
