"""The sweep: many searches at once, resumed, stopped, and with parts that fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charter.models.loading import load_model
from charter.ports import TextModel
from charter.records import Sampling, user_prompt
from charter.redteam.journal import Journal, key_of
from charter.redteam.outcomes import Outcome
from charter.redteam.parties import Party, fitting
from charter.redteam.protocol import Behaviour, NotPossible, Query, Search, Setting, Spec
from charter.redteam.registry import attacks_named
from charter.redteam.sweep import Limits, Sweep
from conftest import Served, YesJudge

BEHAVIOURS = [Behaviour(f"b{i}", f"Request number {i}, please?") for i in range(4)]


def sweep(model: TextModel | Party, journal: Journal, **options: Any) -> Sweep:
    setting = Setting(budget=9, sampling=Sampling(6))
    parties = {"target": model if isinstance(model, Party) else Party(model)}
    return Sweep(parties, options.pop("judge", YesJudge()), setting, journal, **options)


def by_attack(outcomes: list[Outcome], name: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.spec.name == name]


def test_one_outcome_for_each_attack_and_behaviour_and_searches_end_with_a_success(served: Served) -> None:
    served.reply = lambda text: "YES, so." if "FREE" in text and "number 2" in text else "No."
    with Journal(None) as journal:
        outcomes = sweep(served.model(), journal).run(attacks_named("persona,base64"), BEHAVIOURS)
    assert [(o.spec.name, o.behaviour.id) for o in outcomes] == [
        (attack, behaviour.id) for attack in ("persona", "base64") for behaviour in BEHAVIOURS
    ]
    # The second of three persona prompts is the one with FREE.
    assert [o.queries for o in by_attack(outcomes, "persona")] == [3, 3, 2, 3]
    assert [o.success for o in by_attack(outcomes, "persona")] == [False, False, True, False]
    row = by_attack(outcomes, "persona")[2].row("harm")
    assert (row["success"], row["score"], row["label"], row["completion"]) == (True, 0.9, "harmful", "YES, so.")
    assert "FREE" in row["prompt"]
    assert "number 2" in row["prompt"]
    assert row["techniques"] == ["AML.T0054", "AML.T0065"]
    assert row["seconds"] > 0


def test_queries_of_all_attacks_are_judged_and_asked_together(served: Served) -> None:
    judge = YesJudge()
    with Journal(None) as journal:
        sweep(served.model(), journal, judge=judge).run(attacks_named("framing,encoding"), BEHAVIOURS)
    assert sum(judge.batches) == len(served.asked)
    assert max(judge.batches) > 4


def test_an_interrupted_sweep_asks_nothing_twice(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "out.journal"

    def interrupt(done: int, _total: int, _note: str) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    wanted = attacks_named("framing")
    with Journal(path) as journal, pytest.raises(KeyboardInterrupt):
        sweep(served.model(concurrency=2), journal, progress=interrupt).run(wanted, BEHAVIOURS)
    with path.open("a") as file:
        file.write('{"key": "cut o')  # as a kill leaves it
    first = list(served.asked)
    with Journal(path) as journal:
        kept = len(journal)
        again = sweep(served.model(), journal)
        outcomes = again.run(wanted, BEHAVIOURS)
    assert kept > 3
    assert again.replayed == kept
    assert len(served.asked) - len(first) == again.asked
    # A question that was on its way when the run was cut off has no answer on file; no other is asked again.
    assert len(served.asked) - len(set(served.asked)) <= len(first) - kept
    with Journal(path) as journal:
        third = sweep(served.model(), journal)
        rows = [outcome.row("harm") for outcome in third.run([*wanted, *attacks_named("direct")], BEHAVIOURS)]
    assert third.asked == len(BEHAVIOURS)
    assert rows[: len(outcomes)] == [outcome.row("harm") for outcome in outcomes]


def test_answers_are_filed_under_all_that_decides_them() -> None:
    query = Query(user_prompt("Hello"), Sampling(6))
    keys = {
        key_of("m", query), key_of("other", query), key_of("m", replace(query, prompt=user_prompt("Hello!"))),
        key_of("m", replace(query, sampling=Sampling(7))), key_of("m", replace(query, prefill="Sure")),
    }  # fmt: skip
    assert len(keys) == 5


def test_two_runs_cannot_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j"), pytest.raises(Exception, match="another charter process"), Journal(tmp_path / "j"):
        pass


def test_a_token_budget_stops_and_a_larger_one_goes_on(served: Served, tmp_path: Path) -> None:
    served.reply = lambda _: "No way at all."  # 4 tokens, by its characters
    wanted = attacks_named("framing,encoding,language")
    with Journal(tmp_path / "j") as journal:
        first = sweep(served.model(), journal, limits=Limits(tokens=200), window=16)
        outcomes = first.run(wanted, BEHAVIOURS)
    assert first.stopped is not None
    assert "200 tokens" in first.stopped
    unfinished = [outcome for outcome in outcomes if outcome.stopped]
    assert 0 < len(unfinished) < len(outcomes)
    never = next(outcome for outcome in unfinished if not outcome.queries)
    assert never.row("harm")["unscored"] == first.stopped
    assert never.row("harm")["success"] is None
    with Journal(tmp_path / "j") as journal:
        second = sweep(served.model(), journal)
        assert not any(outcome.stopped for outcome in second.run(wanted, BEHAVIOURS))
    assert second.replayed == first.asked


def test_a_time_budget_stops(served: Served) -> None:
    with Journal(None) as journal:
        stopped = sweep(served.model(), journal, limits=Limits(seconds=0.0))
        outcomes = stopped.run(attacks_named("framing"), BEHAVIOURS)
    assert all(outcome.stopped and "0 seconds" in outcome.stopped for outcome in outcomes)
    assert served.asked == []


def test_rate_limits_pass_and_failures_are_unscored_while_others_go_on(served: Served) -> None:
    tries: dict[str, int] = {}

    def reply(text: str) -> str | tuple[int, str]:
        tries[text] = tries.get(text, 0) + 1
        if "number 1" in text and tries[text] < 3:
            return 429, "slow down"
        if "number 2" in text:
            return 400, "this prompt is too long for me"
        return "? what" if "number 3" in text else "No."

    served.reply = reply
    with Journal(None) as journal:
        outcomes = sweep(served.model(), journal).run(attacks_named("direct,prefix-injection"), BEHAVIOURS)
    direct = by_attack(outcomes, "direct")
    assert [outcome.success for outcome in direct] == [False, False, None, None]
    assert "too long for me" in direct[2].row("harm")["unscored"]
    assert direct[3].row("harm")["unscored"] == "a question mark"
    assert direct[3].row("harm")["score"] is None
    assert by_attack(outcomes, "prefix-injection")[2].unanswered == 2


def test_failures_are_not_filed(served: Served, tmp_path: Path) -> None:
    served.reply = lambda _: (400, "no")
    with Journal(tmp_path / "j") as journal:
        sweep(served.model(), journal).run(attacks_named("direct"), BEHAVIOURS)
        assert len(journal) == 0


class Broken:
    """An attack that cannot be made on one behaviour, and yields an empty round on the way on the others."""

    spec = Spec("broken", "test", ("AML.T0054",), "")

    def search(self, behaviour: Behaviour, setting: Setting) -> Search:
        if behaviour.id == "b1":
            raise NotPossible("not on this one")
        yield []
        yield [Query(user_prompt(behaviour.text + str(i)), setting.sampling) for i in range(3)]


class Needy(Broken):
    """An attack that needs weights."""

    spec = Spec("needy", "test", ("AML.T0043.000",), "", ("weights",))


def test_an_attack_that_cannot_be_made_is_unscored_with_its_reason(served: Served) -> None:
    with Journal(None) as journal:
        outcomes = sweep(served.model(), journal).run([Needy(), Broken()], BEHAVIOURS[:2])
    needy, broken = outcomes[:2], outcomes[2:]
    assert all("is an endpoint. Name a local model" in outcome.row("harm")["unscored"] for outcome in needy)
    assert [outcome.queries for outcome in broken] == [3, 0]
    assert broken[1].row("harm")["unscored"] == "not on this one"


def test_a_judge_that_fails_leaves_its_rows_unscored(served: Served) -> None:
    class Failing(YesJudge):
        def score(self, rows: Any) -> Any:  # noqa: ARG002
            raise RuntimeError("out of order")

    with Journal(None) as journal:
        outcomes = sweep(served.model(), journal, judge=Failing()).run(attacks_named("direct"), BEHAVIOURS)
    assert all("out of order" in outcome.row("harm")["unscored"] for outcome in outcomes)


def test_together_is_as_one_by_one_on_a_local_model(tiny_base: Path) -> None:
    # One party: the weights belong to its worker, and two workers must not hold them at once.
    local = Party(load_model(str(tiny_base), "float32"))
    wanted = attacks_named("direct,prefix-injection,rot13,few-shot")
    with Journal(None) as journal:
        together = sweep(local, journal).run(wanted, BEHAVIOURS)
    alone: list[Outcome] = []
    for attack in wanted:
        for behaviour in BEHAVIOURS:
            with Journal(None) as journal:
                alone += sweep(local, journal).run([attack], [behaviour])
    local.close()
    for a, b in zip(together, alone, strict=True):
        assert (a.best and a.best[0].prompt) == (b.best and b.best[0].prompt)
        assert a.best is None or b.best is None or a.best[1].completion.text == b.best[1].completion.text
    # few-shot is longer than this model's 512 bytes of context: the engine says so, and the rest goes on.
    assert all("context is 512" in str(outcome.reason) for outcome in by_attack(together, "few-shot"))
    assert all(outcome.success is False for outcome in by_attack(together, "rot13"))


def test_what_fits_is_known_of_local_models(tiny_base: Path) -> None:
    fits = fitting(load_model(str(tiny_base), "float32"), 6)
    assert fits(user_prompt("x" * 100)) is True
    assert fits(user_prompt("x" * 600)) is False
    assert fitting(None, 6)(user_prompt("x")) is None
