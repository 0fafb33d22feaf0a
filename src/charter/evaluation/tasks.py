"""The shipped suites as Inspect tasks: `inspect eval charter/harmful_requests --model charter/smollm2` works too."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, accuracy, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from charter.errors import UserError
from charter.evaluation.judging import BatchingJudge
from charter.evaluation.metrics import PASSING_LABELS
from charter.evaluation.provider import conversation_of_chat
from charter.evaluation.suites.abroad import READER, label_abroad
from charter.evaluation.suites.catalogue import REFUSAL_JUDGE, SPECS, SuiteSpec, is_file, spec_of, title_of
from charter.evaluation.suites.checks import check_answer, check_instruction
from charter.evaluation.suites.choices import CHOICE_KINDS, asks_of, in_words, read, without_confidence
from charter.evaluation.suites.samples import Sample, load_suite, suite_digest
from charter.evaluation.suites.texts import check_text
from charter.ports import Judge
from charter.records import Exchange, Message


def _task_of(suite: str) -> Callable[..., Task]:
    def make(limit: int | None = None, seed: int = 0) -> Task:
        return suite_task(suite, limit, seed)

    make.__name__ = make.__qualname__ = suite
    make.__doc__ = SPECS[suite].says
    made: Callable[..., Task] = task(name=suite)(make)
    return made


TASKS: Final[Mapping[str, Callable[..., Task]]] = MappingProxyType({suite: _task_of(suite) for suite in SPECS})
"""The suites as Inspect tasks, by name."""


def task_of(suite: str, limit: int | None, seed: int) -> Task:
    """The task of a shipped suite or of a file of frozen attacks."""
    return suite_task(suite, limit, seed) if is_file(suite) else TASKS[suite](limit=limit, seed=seed)


def suite_task(suite: str, limit: int | None, seed: int) -> Task:
    """A suite as a task: greedy, `max_tokens` from SPECS, errors kept as unscored. Raises UserError if empty."""
    samples = chosen(load_suite(suite), limit, seed)
    if not samples:
        raise UserError(
            f'The suite "{suite}" has no samples to run. Reinstall the package, or raise the limit above 0.'
        )
    spec = spec_of(suite)
    return Task(
        dataset=MemoryDataset([_inspect_sample(sample, spec) for sample in samples], name=title_of(suite)),
        solver=choose_option(suite) if spec.scoring == "options" else generate(),
        scorer=[metric_scorer(suite, metric) for metric in spec.metrics],
        config=GenerateConfig(max_tokens=spec.max_tokens, temperature=0.0),
        # One sample that cannot be answered is one unscored sample, not the end of the suite.
        fail_on_error=False,
        name=title_of(suite),
        metadata={"charter": {"suite": suite, "suite_digest": suite_digest(suite), "limit": limit, "seed": seed}},
    )


def chosen(samples: list[Sample], limit: int | None, seed: int) -> list[Sample]:
    """At most `limit` samples: a draw fixed by `seed` (a suite's first rows are all of one slice), in file order.

    A larger draw holds every smaller one of the same seed.
    """
    if limit is None or limit >= len(samples):
        return samples
    order = random.Random(seed).sample(range(len(samples)), len(samples))
    return [samples[i] for i in sorted(order[: max(limit, 0)])]


def _inspect_sample(sample: Sample, spec: SuiteSpec) -> InspectSample:
    metadata = {
        "suite": sample.suite,
        "slice": sample.slice,
        "clauses": list(sample.clauses),
        "techniques": list(spec.techniques),
        "check": sample.check,
        "seen": sample.seen,
    }
    if sample.category:
        metadata["category"] = sample.category
    target = [str(option) for option in sample.target] if sample.target else ""
    # Every wording is part of the question: logs are paired by what was asked.
    asked = "\n\n".join(sample.variants) or sample.prompt
    turns = [message_of_chat(message) for message in sample.messages or (*sample.before, Message("user", asked))]
    if sample.messages is not None:
        metadata["wanted"] = sample.prompt
    return InspectSample(
        id=sample.id, input=turns, target=target, choices=list(sample.choices) or None, metadata=metadata
    )


def metric_scorer(suite: str, metric: str) -> Scorer:
    """The scorer of one metric of a suite, under the metric's name."""
    spec = spec_of(suite)
    kind = "refusal" if spec.scoring == "refusal" else "options" if spec.scoring == "options" else spec.checker

    @scorer(metrics=[mean(), stderr()] if spec.scoring == "options" else [accuracy(), stderr()], name=metric)
    def of_metric() -> Scorer:
        if kind == "refusal":
            return _refusal_scorer(metric)
        if kind == "options":
            return _option_scorer(metric)
        return _text_scorer(kind, metric)

    made: Scorer = of_metric()
    return made


@solver
def choose_option(suite: str) -> Solver:
    """Ask for a choice: log-probs of the options where there are weights, an answer in words elsewhere.

    The reading is kept in the sample's store, and the choice stands as the model's output.
    """
    kind = SPECS[suite].checker
    samples = {sample.id: sample for sample in load_suite(suite)}

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        sample = samples[str(state.sample_id)]
        asks = asks_of(sample, kind)
        model = get_model()
        ours: Any = getattr(model.api, "option_logprobs", None)
        logps: Sequence[Sequence[float]] | None = await ours(asks) if ours else None
        if logps is not None:
            reading = read(sample, kind, logps)
        elif CHOICE_KINDS[kind].needs_logprobs:
            _say(state, "(needs log-probs)", unscored="this suite needs log-probs of given texts, so the weights")
            return state
        else:
            answers = [(await model.generate([message_of_chat(m) for m in ask.prompt])).completion for ask in asks]
            named = [in_words(answer, ask.options) for answer, ask in zip(answers, asks, strict=True)]
            said = [one for one in named if one is not None]
            if len(said) < len(named):
                _say(state, " | ".join(answers), unscored="an answer names none of the options, or several")
                return state
            reading = without_confidence(read(sample, kind, said))
        _say(state, reading.chosen, values=dict(reading.values), detail=dict(reading.detail))
        return state

    return solve


def _say(state: TaskState, text: str, **reading: Any) -> None:
    state.output = ModelOutput.from_content(str(state.model), text)
    state.store.set("reading", reading)


def _option_scorer(metric: str) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        reading: dict[str, Any] = state.store.get("reading", {})
        text = state.output.completion
        if metric not in reading.get("values", {}):
            why = reading.get("unscored") or "answers in words state no probabilities"
            return Score.unscored(reason="no_choice", answer=text, explanation=why)
        return Score(value=reading["values"][metric], answer=text, metadata=reading["detail"])

    return score


def _text_scorer(kind: str, metric: str) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        check = state.metadata["check"]
        if kind == "instruction":
            return _checked(state, lambda text: check_instruction(check, text))
        if kind == "answer":
            return _checked(state, lambda text: check_answer(list(target), text))
        return _checked(state, lambda text: check_text(kind, check, text)[metric])

    return score


def _checked(state: TaskState, check: Callable[[str], float]) -> Score:
    text = state.output.completion
    if not text.strip():
        return Score(value=0, answer=text, reason="no_response", explanation="the model said nothing")
    return Score(value=float(check(text)), answer=text)


def _refusal_scorer(metric: str) -> Scorer:
    judge = shared_judge(REFUSAL_JUDGE)

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        text = state.output.completion
        if not text.strip():
            # Silence is neither a refusal nor an answer: a dead model must not look safe.
            silent = {"judge": judge.name, "label": "empty", "score": None}
            return Score(
                value=0, answer=text, reason="no_response", explanation="the model said nothing", metadata=silent
            )
        abroad = label_abroad(text, str(state.metadata.get("slice")))
        if abroad is not None:
            info: dict[str, Any] = {"judge": READER, "label": abroad, "score": None}
            return Score(value=int(abroad in PASSING_LABELS[metric]), answer=text, metadata=info)
        asked = [ChatMessageUser(content=state.input)] if isinstance(state.input, str) else state.input
        if "wanted" in state.metadata:
            # A disguised request is judged as what it asks for.
            asked = [ChatMessageUser(content=state.metadata["wanted"])]
        row = Exchange(f"{state.sample_id}#{state.epoch}", conversation_of_chat(asked), text)
        found = await judge.score(row)
        info = {"judge": found.judge, "label": found.label, "score": found.score}
        if found.unscored is not None or found.label is None:
            why = found.unscored or "the judge gave no label"
            return Score.unscored(reason="grader_failed", answer=text, explanation=why, metadata=info)
        value = int(found.label in PASSING_LABELS[metric])
        return Score(value=value, answer=text, explanation=f"{found.judge}: {found.label}", metadata=info)

    return score


def message_of_chat(message: Message) -> ChatMessage:
    """Our message as Inspect's."""
    kinds: dict[str, Callable[..., ChatMessage]] = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
        "tool": ChatMessageTool,
    }
    return kinds[message.role](content=message.content)


@cache
def shared_judge(name: str) -> BatchingJudge:
    """The one batching judge of that name in this process: scorers of one suite share its answers."""

    def make() -> Judge:
        from charter.evaluation.judges import named_judge

        made: Judge = named_judge(name)
        return made

    return BatchingJudge(make, name)
