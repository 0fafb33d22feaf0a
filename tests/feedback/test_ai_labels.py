"""AI labels: options in both orders, place bias, clamping, ensembles, abstention, soft strengths, agreement with
people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_asking import Server

from charter.document import Charter, load_charter
from charter.feedback.ai_labels import AiLabel, Comparable, by_contrast, by_options, option_question, preferences_of
from charter.feedback.answers import Said
from charter.feedback.contrast import self_reward
from charter.feedback.label_quality import comparable, quality
from charter.feedback.likelihood import Logprobs, Texts
from charter.feedback.prompt_mix import MixedPrompt, drawn_clauses, taught_clauses
from charter.ports import Progress
from charter.records import Completion, Conversation, Preference, Sampling, preference_from, user_prompt

CHARTER = """\
charter: 1
name: small
version: "1"
clauses:
  - {id: a.one, kind: must, rule: Be kind., train: [contrast]}
  - {id: b.two, kind: must, rule: Be brief., train: [contrast]}
  - {id: c.three, kind: must_not, rule: Never lie.}
"""
GOOD, BAD = Said("a good reply", True), Said("a bad reply", True)
ROW = Comparable(MixedPrompt("p1", user_prompt("Say something."), "helpful"), GOOD, BAD)


class Scripted:
    """A labeller whose chance of the option "A" is a function of the question."""

    name = "scripted"

    def __init__(self, chance: Callable[[str, str], float | str]) -> None:
        self.chance, self.asked = chance, list[Conversation]()

    def logprobs(self, rows: Sequence[Texts], _progress: Progress | None = None) -> list[Logprobs]:
        self.asked += [row.prompt for row in rows]
        return [self._one(row) for row in rows]

    def _one(self, row: Texts) -> Logprobs:
        found = self.chance(row.prompt[0].content, row.prompt[1].content)
        if isinstance(found, str):
            return found
        # Little of the mass is on the options: only their ratio may count.
        return tuple(math.log(0.01 * one) if one else -math.inf for one in (found, 1 - found))


def honest(_rule: str, question: str) -> float:
    return 0.9 if question.index("good") < question.index("bad") else 0.1


@pytest.fixture(scope="module")
def charter(tmp_path_factory: pytest.TempPathFactory) -> Charter:
    path: Path = tmp_path_factory.mktemp("charter") / "charter.yaml"
    path.write_text(CHARTER)
    return load_charter(path)


def test_both_orders_are_asked_and_the_chance_is_of_the_first_reply(charter: Charter) -> None:
    labeller = Scripted(honest)
    turned = Comparable(ROW.prompt, BAD, GOOD)
    one, two = by_options([ROW, turned], [charter.clause("a.one")], labeller)
    assert (one.chance, two.chance) == (pytest.approx(0.9), pytest.approx(0.1))
    assert (one.first_place, one.disagree) == (pytest.approx(0.5), 0)
    assert len(labeller.asked) == 4
    assert [one.prompt for one in one.asked] == labeller.asked[:2]
    assert "Be kind." in labeller.asked[0][0].content


def test_a_labeller_that_favours_a_place_gets_no_label_and_is_found_out(charter: Charter) -> None:
    (label,) = by_options([ROW], [charter.clause("a.one")], Scripted(lambda *_: 0.95))
    assert (label.chance, label.first_place, label.disagree) == (pytest.approx(0.5), pytest.approx(0.95), 1)
    out = preferences_of([ROW], [label], "scripted", abstain=0.01)
    assert (out.preferences, out.counts) == ([], {"labels: abstained": 1})


def test_several_clauses_are_averaged(charter: Charter) -> None:
    def by_rule(rule: str, question: str) -> float:
        chance = 0.8 if "kind" in rule else 0.6
        return chance if question.index("good") < question.index("bad") else 1 - chance

    (label,) = by_options([ROW], taught_clauses(charter), Scripted(by_rule), ensemble=2)
    assert label.chance == pytest.approx(0.7)
    assert set(label.clauses) == {"a.one", "b.two"}


@pytest.mark.parametrize(
    ("chance", "reason"), [("the server said no", "the server said no"), (math.nan, "neither option")]
)
def test_nonsense_is_unscored_and_never_a_label(charter: Charter, chance: float | str, reason: str) -> None:
    class Nonsense(Scripted):
        def _one(self, _row: Texts) -> Logprobs:
            return chance if isinstance(chance, str) else (-math.inf, -math.inf)

    (label,) = by_options([ROW], [charter.clause("a.one")], Nonsense(honest))
    assert label.chance is None
    assert reason in str(label.unscored)
    out = preferences_of([ROW], [label], "x")
    assert out.preferences == []
    assert out.counts == {f"labels: unscored, {label.unscored}": 1}


def test_one_order_alone_is_no_label(charter: Charter) -> None:
    half = Scripted(lambda _, question: 0.9 if question.index("good") < question.index("bad") else "too long")
    (label,) = by_options([ROW], [charter.clause("a.one")], half)
    assert (label.chance, label.unscored) == (None, "too long")


def test_a_chain_of_thought_is_shown_and_its_chance_clamped(charter: Charter) -> None:
    labeller = Scripted(lambda _, question: 0.999 if question.index("good") < question.index("bad") else 0.001)
    (label,) = by_options([ROW], [charter.clause("a.one")], labeller, thinker=Server())
    assert label.chance == pytest.approx(0.6)
    roles = [turn.role for turn in labeller.asked[0]]
    assert roles == ["system", "user", "assistant", "user"]

    class Silent(Server):
        def generate(
            self, prompts: Sequence[Conversation], _sampling: Sampling, _progress: Progress | None = None
        ) -> list[list[Completion]]:
            return [[Completion(" ")] for _ in prompts]

    (unscored,) = by_options([ROW], [charter.clause("a.one")], Scripted(honest), thinker=Silent())
    assert (unscored.chance, unscored.unscored) == (None, "no reasoning came")


@given(st.floats(0.51, 1.0), st.floats(0.05, 1.0))
def test_a_soft_label_is_two_pairs_that_weigh_one_row_together(chance: float, weight: float) -> None:
    out = preferences_of([ROW], [AiLabel(1 - chance, ("a.one",))], "x", weight=weight)
    assert sum(row.strength for row in out.preferences) == pytest.approx(weight)
    likelier = max(out.preferences, key=lambda row: row.strength)
    assert (likelier.chosen, likelier.strength) == (BAD.text, pytest.approx(weight * chance))
    assert {row.chosen for row in out.preferences} <= {GOOD.text, BAD.text}
    (hard,) = preferences_of([ROW], [AiLabel(chance, ("a.one",))], "x", soft=False).preferences
    assert (hard.chosen, hard.strength, hard.rater, hard.clauses) == (GOOD.text, 1.0, "x", ("a.one",))


def test_a_row_knows_what_made_it_and_survives_its_file(charter: Charter) -> None:
    from charter.records import as_row

    labels = by_options([ROW], [charter.clause("a.one")], Scripted(honest), seed=7)
    row = preferences_of([ROW], labels, "scripted").preferences[0]
    assert row.made is not None
    assert [(one.role, one.model, one.seed) for one in row.made.asked] == [("label", "scripted", 7)] * 2
    assert dict(row.made.scores) == {"chance of the chosen side": pytest.approx(0.9)}
    assert preference_from(as_row(row)) == row


PAIRS = st.tuples(st.floats(-50, 0), st.floats(-50, 0))


@given(PAIRS, PAIRS)
def test_a_self_reward_changes_sign_with_the_sides_and_with_the_clause(
    under: tuple[float, float], against: tuple[float, float]
) -> None:
    found = self_reward(under, against)
    assert isinstance(found, float)
    assert found == pytest.approx((under[0] - against[0]) - (under[1] - against[1]))
    assert self_reward(under[::-1], against[::-1]) == pytest.approx(-found)
    assert self_reward(against, under) == pytest.approx(-found)


def test_likelihood_contrast_prefers_what_the_clause_makes_likelier(charter: Charter) -> None:
    class Keeps:
        name = "keeps"

        def logprobs(self, rows: Sequence[Texts], _progress: Progress | None = None) -> list[Logprobs]:
            # Under the clause the good reply gains 2 nats; the bad one is likelier throughout.
            return [(-8.0 if "ignore" not in row.prompt[0].content else -10.0, -1.0) for row in rows]

    (label,) = by_contrast([ROW], [charter.clause("a.one")], Keeps(), scale=0.5)
    assert label.chance == pytest.approx(1 / (1 + math.exp(-1.0)))


def test_clauses_are_drawn_by_the_seed_and_known_ones_first(charter: Charter) -> None:
    clauses = list(charter.clauses)
    known = MixedPrompt("p", user_prompt("x"), "helpful", ("c.three",))
    assert drawn_clauses(known, clauses, 1, 0)[0].id == "c.three"
    draws = {drawn_clauses(MixedPrompt(str(i), user_prompt("x"), "helpful"), clauses, 1, 0)[0].id for i in range(40)}
    assert draws == {"a.one", "b.two", "c.three"}
    assert drawn_clauses(ROW.prompt, clauses, 2, 5) == drawn_clauses(ROW.prompt, clauses, 2, 5)


def test_agreement_with_people_and_a_place_bias_that_cannot_help() -> None:
    human = [Preference(f"h{i}", user_prompt(f"q{i}"), f"good {i}", f"bad {i}") for i in range(10)]
    rows = comparable(human)
    assert [row.first.text.split()[0] for row in rows] == ["good", "bad"] * 5
    right = [AiLabel(0.9 if i % 2 == 0 else 0.1, ()) for i in range(8)]
    measured = quality([*right, AiLabel(0.2, ()), AiLabel(None, (), "down")], "m", "options")
    assert (measured.all.n, measured.all.agree, measured.unscored) == (9, pytest.approx(8 / 9), 1)
    assert measured.reasons == {"down": 1}
    # The one wrong label is among the less sure half.
    assert (measured.unsure.agree, measured.sure.agree) == (pytest.approx(3 / 4), 1.0)
    first_always = quality([AiLabel(0.8, ()) for _ in human], "m", "options")
    assert first_always.all.agree == 0.5
    assert quality([AiLabel(0.52, ())] * 2, "m", "options", abstain=0.1).abstained == 2


def test_questions_of_one_clause_begin_alike(charter: Charter) -> None:
    clause = charter.clause("a.one")
    other = Comparable(MixedPrompt("p2", user_prompt("Another thing."), "helpful"), BAD, GOOD)
    one, two = option_question(ROW, clause, False), option_question(other, clause, True)
    assert one[0] == two[0]
    assert one[1].content.index("good") < one[1].content.index("bad")
    assert two[1].content.index("Reply A: a good") < two[1].content.index("Reply B: a bad")
