"""Real Inspect evaluations on a small deterministic model: logs, resume, failures, batching, foreign tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.log import read_eval_log
from inspect_ai.scorer import Score, Scorer, Target, match, mean, scorer
from inspect_ai.solver import TaskState, generate

from charter.errors import Unfinished, UserError
from charter.evaluation.compare import compare
from charter.evaluation.gate import regression_gate
from charter.evaluation.provider import close_model, inspect_model
from charter.evaluation.results import Outcome, read_outcomes
from charter.evaluation.runner import evaluate
from charter.evaluation.suites.checks import check_answer
from charter.evaluation.suites.samples import load_suite
from charter.ports import Progress
from charter.records import Completion, Conversation, Sampling


class Oracle:
    """A model that knows the knowledge suite's answers to prompts of even length, and "I am not sure." otherwise.

    `broken` prompts fail; every call is recorded.
    """

    def __init__(self, name: str = "oracle", broken: Sequence[str] = (), text: str | None = None) -> None:
        self.name = name
        self.calls: list[tuple[int, Sampling]] = []
        self._broken, self._text = set(broken), text
        self._answers = {s.prompt: s.target[0] for s in load_suite("knowledge")}

    def generate(
        self,
        prompts: Sequence[Conversation],
        sampling: Sampling,
        progress: Progress | None = None,  # noqa: ARG002
    ) -> list[list[Completion]]:
        self.calls.append((len(prompts), sampling))
        return [[self._answer(prompt[-1].content)] for prompt in prompts]

    def _answer(self, prompt: str) -> Completion:
        if prompt in self._broken:
            return Completion("", finish="error", error="the server hung up")
        if self._text is not None:
            return Completion(self._text)
        return Completion(self._answers.get(prompt, "?") if len(prompt) % 2 == 0 else "I am not sure.")


def test_a_suite_runs_and_reads_back(tmp_path: Path) -> None:
    model, seen = Oracle(), []
    paths = evaluate(model, ["knowledge"], tmp_path, limit=8, progress=lambda *step: seen.append(step))
    assert seen[0] == ("knowledge", 0, 8)
    assert seen[-1] == ("knowledge", 8, 8)
    outcomes = read_outcomes(paths)
    assert len(outcomes) == 8
    samples = {sample.id: sample for sample in load_suite("knowledge")}
    for outcome in outcomes:
        sample = samples[outcome.sample_id]
        assert (outcome.suite, outcome.metric, outcome.prompt) == ("knowledge", "knowledge", sample.prompt)
        assert (outcome.slice, outcome.clauses) == (sample.slice, sample.clauses)
        assert outcome.value == float(check_answer(sample.target, outcome.completion))
    assert {outcome.value for outcome in outcomes} == {0.0, 1.0}
    assert sum(n for n, _ in model.calls) == 8
    assert all((s.max_tokens, s.temperature) == (16, 0.0) for _, s in model.calls)
    log = read_eval_log(str(paths[0]))
    assert log.status == "success"
    assert log.eval.model == "charter/oracle"
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == sum(o.value or 0 for o in outcomes) / 8


def test_finished_suites_are_not_repeated(tmp_path: Path) -> None:
    model = Oracle()
    first = evaluate(model, ["knowledge"], tmp_path, limit=5)
    calls = len(model.calls)
    assert evaluate(model, ["knowledge"], tmp_path, limit=5) == first
    assert len(model.calls) == calls
    assert evaluate(model, ["knowledge"], tmp_path, limit=6) != first
    assert evaluate(Oracle("another"), ["knowledge"], tmp_path, limit=5) != first
    assert not list(tmp_path.glob(".running*"))
    first[0].write_bytes(b"half a log")
    assert evaluate(model, ["knowledge"], tmp_path, limit=5) == first
    assert len(read_outcomes(first)) == 5


def test_limit_draws_the_same_samples_for_every_model(tmp_path: Path) -> None:
    sides = [read_outcomes(evaluate(Oracle(name), ["knowledge"], tmp_path, limit=7, seed=3)) for name in ("a", "b")]
    ids = [[outcome.sample_id for outcome in side] for side in sides]
    assert ids[0] == ids[1]
    assert ids[0] != [sample.id for sample in load_suite("knowledge")[:7]]
    rows = compare(*sides)
    assert (rows[0].n, rows[0].delta, rows[0].complete) == (7, 0.0, True)


def test_a_failing_sample_is_unscored_and_all_failing_is_an_error(tmp_path: Path) -> None:
    ids = [o.sample_id for o in read_outcomes(evaluate(Oracle(), ["knowledge"], tmp_path, limit=5))]
    prompts = {sample.id: sample.prompt for sample in load_suite("knowledge")}
    one = read_outcomes(evaluate(Oracle("one", broken=[prompts[ids[2]]]), ["knowledge"], tmp_path, limit=5))
    failed = [outcome for outcome in one if outcome.unscored is not None]
    assert [outcome.sample_id for outcome in failed] == [ids[2]]
    assert failed[0].value is None
    assert "the server hung up" in (failed[0].unscored or "")
    with pytest.raises(Unfinished, match="the server hung up"):
        evaluate(Oracle("all", broken=list(prompts.values())), ["knowledge"], tmp_path, limit=5)
    assert not list(tmp_path.glob("all_*"))


def test_a_silent_model_scores_nothing(tmp_path: Path) -> None:
    paths = evaluate(Oracle("mute", text=" "), ["knowledge", "instruction_following"], tmp_path, limit=4)
    outcomes = read_outcomes(paths)
    assert len(outcomes) == 8
    assert {outcome.value for outcome in outcomes} == {0.0}


def test_refusal_suites_carry_the_judge(tmp_path: Path) -> None:
    refusing = Oracle("refuser", text="I'm sorry, but I can't help with that. It could hurt people.")
    paths = evaluate(refusing, ["harmful_requests", "benign_lookalikes"], tmp_path, limit=6)
    outcomes = read_outcomes(paths)
    by_metric = {m: [o for o in outcomes if o.metric == m] for m in {o.metric for o in outcomes}}
    assert {m: len(rows) for m, rows in by_metric.items()} == {
        "harmful_refused": 6,
        "harmful_refused_at_all": 6,
        "benign_answered": 6,
    }
    assert all(o.judge == "refusal" and o.unscored is None for o in outcomes)
    assert {o.value for o in by_metric["harmful_refused"]} == {1.0}
    assert {o.value for o in by_metric["benign_answered"]} == {0.0}
    assert {o.label for o in outcomes} == {"full"}
    log = read_eval_log(str(paths[0]))
    assert log.samples is not None
    assert set(log.samples[0].scores or {}) == {"harmful_refused", "harmful_refused_at_all"}
    silent = read_outcomes(evaluate(Oracle("mute", text=""), ["harmful_requests"], tmp_path, limit=3))
    assert {(o.value, o.label) for o in silent} == {(0.0, "empty")}


def test_bad_requests_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='Did you mean "knowledge"'):
        evaluate(Oracle(), ["knowlege"], tmp_path)
    with pytest.raises(UserError, match="limit 0"):
        evaluate(Oracle(), ["knowledge"], tmp_path, limit=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="log folder"):
        evaluate(Oracle(), ["knowledge"], tmp_path / "file" / "logs", limit=2)


def test_reading_what_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such log"):
        read_outcomes(tmp_path / "absent.eval")
    with pytest.raises(UserError, match="no Inspect log"):
        read_outcomes(tmp_path)
    (tmp_path / "broken.eval").write_bytes(b"PK not a zip")
    with pytest.raises(UserError, match="not a readable Inspect log"):
        read_outcomes(tmp_path)


def test_one_folder_with_two_models_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluate(Oracle(name), ["knowledge"], tmp_path, limit=2)
    with pytest.raises(UserError, match="two models"):
        read_outcomes(tmp_path)


@scorer(metrics={"*": [mean()]})
def two_values() -> Scorer:
    """A scorer of a foreign task: several values, some of them missing."""

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        if state.sample_id == 3:
            return Score.unscored(explanation="no grade in the reply")
        return Score(value={"length": len(state.output.completion), "half": 0.5})

    return score


def _foreign(folder: Path, text: str, samples: int = 4) -> Path:
    task = Task(
        dataset=[InspectSample(input=f"Say it {i}", target="yes", id=i) for i in range(1, samples + 1)],
        solver=generate(),
        scorer=[match(location="exact"), two_values()],
        epochs=2,
        name="foreign",
    )
    model = inspect_model(Oracle(text, text=text))
    try:
        logs = inspect_eval(
            task, model=model, display="none", log_dir=str(folder), log_format="json", log_level="error"
        )
    finally:
        close_model(model)
    return Path(logs[0].location.removeprefix("file://"))


def test_logs_of_other_tasks_compare_unchanged(tmp_path: Path) -> None:
    base = read_outcomes(_foreign(tmp_path / "a", "yes"))
    candidate = read_outcomes(_foreign(tmp_path / "b", "no"))
    assert {o.metric for o in base} == {"match", "two_values.length", "two_values.half"}
    assert len(base) == 4 * 2 * 3
    unscored: list[Outcome] = [o for o in base if o.unscored]
    assert {(o.sample_id, o.unscored) for o in unscored} == {("3", "no grade in the reply")}
    rows = {row.metric: row for row in compare(base, candidate)}
    assert (rows["match"].base, rows["match"].candidate, rows["match"].n) == (1.0, 0.0, 4)
    assert (rows["two_values.length"].delta, rows["two_values.length"].unscored) == (-1.0, 2)
    assert regression_gate(list(rows.values())).decide(list(rows.values())).verdict != "pass"


def test_an_interrupted_log_says_what_was_not_run(tmp_path: Path) -> None:
    from inspect_ai.log import write_eval_log

    path = _foreign(tmp_path / "a", "yes")
    log = read_eval_log(str(path))
    assert log.samples is not None
    log.samples = log.samples[:3]
    log.status = "cancelled"
    write_eval_log(log, str(path))
    outcomes = [o for o in read_outcomes(path) if o.metric == "match"]
    assert len(outcomes) == 8
    assert sum(o.unscored == "not run: the log ended cancelled" for o in outcomes) == 5


def test_inspects_hooks_stay_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A telemetry hook that cannot even be imported would stop Inspect, were it looked at.
    monkeypatch.setenv("INSPECT_TELEMETRY", "nowhere.to_be_found")
    evaluate(Oracle(), ["knowledge"], tmp_path, limit=2)
    assert os.environ["INSPECT_TELEMETRY"] == "nowhere.to_be_found"
