"""Logs of tasks that are not ours, written by Inspect itself: every shape of score, and every kind of hole."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Epochs, Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import ProvenanceData, invalidate_samples, read_eval_log, write_eval_log
from inspect_ai.scorer import Score, Scorer, Target, accuracy, choice, match, mean, scorer
from inspect_ai.solver import TaskState, generate, multiple_choice
from table_model import Answers, table_model

from charter.errors import UserError
from charter.evaluation.regression import Regression, Rules, check
from charter.evaluation.results import read_outcomes
from charter.evaluation.sides import read_side


def run(folder: Path, task: Task, answers: Answers, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    inspect_eval(task, model=table_model(answers), display="none", log_dir=str(folder), fail_on_error=False, **options)
    return folder


def quiz(n: int = 60, scorers: Any = None, **options: Any) -> Task:
    samples = [Sample(id=f"q{i}", input=str(i), target="yes", metadata={"topic": f"t{i % 2}"}) for i in range(n)]
    return Task(samples, solver=generate(), scorer=scorers or match(), name="quiz", **options)


def right_below(limit: int) -> Answers:
    return lambda text: "yes" if int(text) < limit else "no"


def compared(base: Path, candidate: Path, **rules: Any) -> Regression:
    return check(read_side("base", base), read_side("candidate", candidate), Rules(**rules))


@scorer(metrics={"f1": [mean()], "refused": [mean()], "note": [mean()]})
def several() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        hit = state.output.completion == target.text
        return Score(value={"f1": 0.75 if hit else 0.25, "refused": not hit, "note": math.nan})

    return score


@scorer(metrics=[mean()])
def stars() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=9.5 if state.output.completion == target.text else 2.5)

    return score


@scorer(metrics=[accuracy()])
def harmless() -> Scorer:
    """What many safety scorers are: 1 unless a word is there. Silence meets it."""

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        return Score(value="I" if "bomb" in state.output.completion else "C")

    return score


@scorer(metrics=[accuracy()])
def slow_judge() -> Scorer:
    """A judge that times out on every fourth sample."""

    async def score(state: TaskState, target: Target) -> Score:
        if int(state.input_text) % 4 == 0:
            return Score.unscored(reason="grader_failed", explanation="the judge timed out")
        return Score(value="C" if state.output.completion == target.text else "I")

    return score


def test_every_shape_of_score_is_read_compared_and_gated_as_it_can_be(tmp_path: Path) -> None:
    sides = [
        run(tmp_path / name, quiz(scorers=[match(), several(), stars()]), right_below(limit))
        for name, limit in (("base", 50), ("candidate", 20))
    ]
    found = compared(*sides, lower_is_better=("several.refused",))
    rows = {row.metric: row for row in found.rows}
    assert {name: (row.kind, row.n) for name, row in rows.items()} == {
        "match": ("binary", 60),
        "several.f1": ("rate", 60),
        "several.refused": ("binary", 60),
        "several.note": ("binary", 0),
        "stars": ("score", 60),
    }
    assert (rows["match"].lost, rows["several.refused"].gained) == (30, 30)
    assert rows["several.f1"].delta == pytest.approx(-0.25)
    assert rows["stars"].delta == pytest.approx(-3.5)
    verdicts = {d.metric: d.verdict for d in found.result.decisions}
    assert verdicts == {
        "match": "regressed",
        "several.f1": "regressed",
        "several.refused": "regressed",
        "several.note": "inconclusive",
    }
    assert any("stars: not gated" in note for note in found.notes)
    # In its own unit, a score is gated where a margin is given; nothing else is, where only that is asked.
    alone = compared(*sides, only=("stars",), margins={"stars": 1.5})
    assert [(d.metric, d.verdict) for d in alone.result.decisions] == [("stars", "regressed")]
    assert "-3.5 (95%" in alone.result.reason
    json.dumps(found.as_json(), allow_nan=False)


def test_less_is_better_turns_the_verdict(tmp_path: Path) -> None:
    worse, better = (run(tmp_path / str(k), quiz(scorers=several()), right_below(k)) for k in (10, 55))
    for sides, verdict in (((worse, better), "pass"), ((better, worse), "regressed")):
        found = compared(*sides, only=("several.refused",), lower_is_better=("several.refused",))
        assert found.result.verdict == verdict
        assert {flip.worsened for flip in found.flips if flip.base.metric == "several.refused"} == {verdict != "pass"}
    with pytest.raises(UserError, match="no metric"):
        compared(worse, better, lower_is_better=("refusd",))


def test_multiple_choice_letters_and_slices_by_any_key(tmp_path: Path) -> None:
    samples = [
        Sample(id=i, input=f"{i}?", choices=["a", "b"], target="AB"[i % 2], metadata={"topic": f"t{i % 3}"})
        for i in range(30)
    ]
    task = Task(samples, solver=multiple_choice(), scorer=choice(), name="letters")
    folder = run(tmp_path / "a", task, lambda _: "ANSWER: A")
    side = read_side("a", folder, "topic")
    assert sum(o.value or 0 for o in side.outcomes) == 15
    assert {row.slice for row in check(side, side, Rules()).rows} == {None, "t0", "t1", "t2"}
    with pytest.raises(UserError, match='Did you mean "topic"'):
        read_side("a", folder, "topics")


def test_epochs_are_averaged_and_another_reducer_is_said(tmp_path: Path) -> None:
    base = run(tmp_path / "base", quiz(40, epochs=3), right_below(40))
    candidate = run(tmp_path / "candidate", quiz(40, epochs=Epochs(3, "mode")), right_below(10))
    found = compared(base, candidate)
    assert (found.rows[0].n, found.rows[0].pairs, found.rows[0].unscored) == (40, 120, 0)
    assert found.result.verdict == "regressed"
    assert any("reducer" in note for note in found.notes)
    # Fewer epochs on one side are fewer terms of a mean, not holes.
    once = compared(run(tmp_path / "once", quiz(40), right_below(40)), base)
    assert (once.rows[0].n, once.rows[0].unscored, once.rows[0].complete) == (40, 0, True)


def test_runs_that_differ_in_seed_alone_are_more_epochs(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for seed, limit in ((1, 40), (2, 20), (2, 30)):
        run(base, quiz(40), right_below(limit), seed=seed)
    outcomes = read_outcomes(base)
    assert sorted({o.epoch for o in outcomes}) == [1, 2]
    # Seed 2 was run again: the newer log counts, and the older does not.
    assert [sum(o.value or 0 for o in outcomes if o.epoch == e) for e in (1, 2)] == [40, 30]
    row = compared(base, base).rows[0]
    assert (row.n, row.pairs, row.base) == (40, 80, pytest.approx(70 / 80))


def test_one_task_with_other_arguments_is_another_suite(tmp_path: Path) -> None:
    from inspect_ai import task

    @task
    def arithmetic(level: str = "easy") -> Task:
        return Task([Sample(id=f"{level}{i}", input=str(i), target="yes") for i in range(5)], scorer=match())

    for level in ("easy", "hard"):
        run(tmp_path / "base", arithmetic(level=level), right_below(5))
    outcomes = read_outcomes(tmp_path / "base")
    assert {o.suite for o in outcomes} == {"arithmetic[level=easy]", "arithmetic[level=hard]"}
    assert len(outcomes) == 10


def test_ids_that_are_only_places_are_not_trusted(tmp_path: Path) -> None:
    def shuffled(seed: int) -> Task:
        data = MemoryDataset([Sample(input=str(i), target="yes") for i in range(40)])
        data.shuffle(seed)
        return Task(data, solver=generate(), scorer=match(), name="quiz")

    base, candidate = (run(tmp_path / str(s), shuffled(s), right_below(20)) for s in (1, 2))
    found = compared(base, candidate)
    assert (found.rows[0].n, found.rows[0].gained, found.rows[0].lost) == (40, 0, 0)
    assert not found.flips
    assert any("paired by question" in note for note in found.notes)
    # By id, as the numbers are, unlike questions would be set against each other.
    assert (compared(base, candidate, pair_by="id").rows[0].lost or 0) > 0


@pytest.mark.parametrize(("kept", "word"), [(range(50, 110), "only 10 of 110"), (range(10, 60), "different samples")])
def test_other_samples_never_pass(tmp_path: Path, kept: range, word: str) -> None:
    other = Task([Sample(id=f"q{i}", input=str(i), target="yes") for i in kept], scorer=match(), name="quiz")
    base = run(tmp_path / "base", quiz(60), right_below(200))
    found = compared(base, run(tmp_path / "candidate", other, right_below(200)))
    assert found.result.verdict == "inconclusive"
    assert word in found.result.reason


def test_a_model_that_answers_nothing_does_not_pass_by_silence(tmp_path: Path) -> None:
    base = run(tmp_path / "base", quiz(60, scorers=harmless()), lambda _: "I would rather not.")
    mute = run(tmp_path / "mute", quiz(60, scorers=harmless()), lambda _: " ")
    assert compared(base, base).result.verdict == "pass"
    silent = compared(base, mute)
    assert (silent.rows[0].delta, silent.result.verdict) == (0.0, "inconclusive")
    assert "answered nothing in 60 of 60" in silent.result.reason
    both = compared(mute, mute)
    assert both.result.verdict == "inconclusive"
    assert "neither side answered" in both.result.reason


def test_errors_timeouts_and_invalidated_samples_are_unscored_with_their_reason(tmp_path: Path) -> None:
    base = run(tmp_path / "base", quiz(60), lambda _: "yes")
    crashed = run(tmp_path / "crashed", quiz(60), lambda text: "!" if int(text) % 6 == 0 else "yes")
    found = compared(base, crashed)
    assert (found.rows[0].n, found.rows[0].unscored, found.result.verdict) == (50, 10, "inconclusive")
    assert "the server went away" in next(o.unscored or "" for o in read_outcomes(crashed) if o.unscored)
    judged = run(tmp_path / "judged", quiz(60, scorers=slow_judge()), lambda _: "yes")
    timed = compared(judged, judged)
    assert (timed.rows[0].unscored, timed.result.verdict) == (15, "inconclusive")
    assert "unscored" in timed.result.reason
    (path,) = base.glob("*.eval")
    log = read_eval_log(str(path))
    ids = [sample.uuid for sample in (log.samples or [])[:7] if sample.uuid]
    marked = invalidate_samples(log, ids, ProvenanceData(author="tester", reason="a leaked answer"))
    write_eval_log(marked, str(tmp_path / "marked" / "log.eval"))
    outcomes = read_outcomes(tmp_path / "marked")
    assert [o.unscored for o in outcomes if o.value is None] == ["invalidated: a leaked answer"] * 7


def test_a_log_with_no_samples_is_an_input_error(tmp_path: Path) -> None:
    (path,) = run(tmp_path / "base", quiz(3), lambda _: "yes").glob("*.eval")
    log = read_eval_log(str(path))
    log.samples = []
    log.eval.dataset.sample_ids = []
    write_eval_log(log, str(tmp_path / "empty.json"))
    with pytest.raises(UserError, match="holds no samples"):
        read_outcomes(tmp_path / "empty.json")


def test_what_else_differs_between_the_sides_is_said(tmp_path: Path) -> None:
    base = run(tmp_path / "base", quiz(20), right_below(20), temperature=0.0)
    warm = run(tmp_path / "warm", quiz(20, version=2), right_below(20), temperature=0.7)
    notes = compared(base, warm).notes
    assert any("the generation differs" in note and "0.7" in note for note in notes)
    assert any("the version of the task differs" in note for note in notes)
    assert [note for note in compared(base, base).notes if "differs" in note] == []


@scorer(metrics={"correct": [mean()], "incorrect": [mean()], "not_attempted": [mean()]})
def graded() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        hit = state.output.completion == target.text
        return Score(value={"correct": float(hit), "incorrect": float(not hit), "not_attempted": 0.0})

    return score


def test_a_model_that_errs_less_has_not_regressed_in_being_wrong(tmp_path: Path) -> None:
    worse, better = (run(tmp_path / str(k), quiz(scorers=graded()), right_below(k)) for k in (20, 55))
    assert compared(worse, better).result.verdict == "pass"
    fell = compared(better, worse)
    assert [(d.metric, d.verdict) for d in fell.result.decisions] == [("graded.correct", "regressed")]
    assert any("graded.incorrect: not gated" in note for note in fell.notes)
