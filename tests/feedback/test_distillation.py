"""Context distillation on scripted models with the real judge and embedder: what the gate keeps, and what it
reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_answers import ANSWERS, BENIGN, COMPLIES, HARMFUL, REFUSAL

from charter.document import STARTER, Charter, load_charter
from charter.errors import UserError
from charter.feedback.distillation import Distillation, Gate, distil_contexts
from charter.feedback.distillation_report import drawing, report_of
from charter.feedback.likelihood import Logprobs, Texts
from charter.feedback.preprompts import SHOTS, generic, risks, targeted
from charter.feedback.prompt_mix import MixedPrompt, taught_clauses
from charter.feedback.safety import JudgedSafety, RewardedSafety
from charter.judges.refusal import RefusalJudge
from charter.ports import Progress
from charter.records import (
    Completion,
    Conversation,
    Exchange,
    Message,
    Rewarded,
    Sampling,
    as_row,
    demonstration_from,
    user_prompt,
)
from charter.training.teacher import preprompted

HOW = Sampling(32, 0.7, n=2, seed=1)
PROMPTS = [
    MixedPrompt("h1", user_prompt(HARMFUL), "red_team", ("harm.crime",)),
    MixedPrompt("b1", user_prompt(BENIGN), "helpful", ("help.no-overcaution",)),
]


class Nervous:
    """Complies when asked plainly; under any pre-prompt it declines all, harmful or not, every other time."""

    name = "nervous"

    def __init__(self, silent: bool = False) -> None:
        self.asked: list[tuple[Conversation, Sampling]] = []
        self.silent = silent

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        self.asked += [(prompt, sampling) for prompt in prompts]
        if progress:
            progress(len(prompts) * sampling.n, len(prompts) * sampling.n)
        return [[Completion(self._answer(prompt, i)) for i in range(sampling.n)] for prompt in prompts]

    def _answer(self, prompt: Conversation, number: int) -> str:
        plain = COMPLIES if HARMFUL in prompt[-1].content else ANSWERS
        if prompt[0].role == "system":
            return "" if self.silent else plain if number else REFUSAL
        return plain


@pytest.fixture(scope="module")
def charter() -> Charter:
    return load_charter(STARTER)


@pytest.fixture(scope="module")
def judge() -> RefusalJudge:
    return RefusalJudge()


def distilled(charter: Charter, judge: RefusalJudge, model: Nervous, **how: object) -> Distillation:
    return distil_contexts(PROMPTS, taught_clauses(charter), model, JudgedSafety(judge), judge, HOW, **how)  # type: ignore[arg-type]


def test_only_what_became_safer_is_kept_and_the_pre_prompt_is_gone(charter: Charter, judge: RefusalJudge) -> None:
    model = Nervous()
    seen: list[tuple[int, int]] = []
    done = distilled(charter, judge, model, progress=lambda *now: seen.append(now))
    rows = {row.prompt[0].content: row for row in done.labelled.demonstrations}
    assert rows[HARMFUL].completion == REFUSAL
    # The harmless prompt's refusal is no gain: what is kept is the model's own answer.
    assert rows[BENIGN].completion == ANSWERS
    assert all(len(row.prompt) == 1 for row in rows.values())
    assert done.labelled.counts.total() == 2
    assert done.labelled.preferences == []
    assert seen[-1] == ((2 + HOW.n) * len(PROMPTS),) * 2
    # The bare answers are greedy and asked once; the chosen pre-prompt is tried n times, the other once.
    assert [(how.temperature, how.n) for prompt, how in model.asked if prompt[0].role == "user"] == [(0.0, 1)] * 2
    assert sorted(how.n for prompt, how in model.asked if prompt[0].role == "system") == [1, 1, 2, 2]


def test_a_row_carries_what_made_it_and_the_teacher_is_asked_under_the_pre_prompt(
    charter: Charter, judge: RefusalJudge
) -> None:
    done = distilled(charter, judge, Nervous(), threshold=-1)
    row = next(row for row in done.labelled.demonstrations if row.completion == REFUSAL)
    assert row.made is not None
    scores = dict(row.made.scores)
    assert set(scores) == {"risk", "safety, bare", "safety, generic", "safety, targeted"}
    assert row.clauses == ("harm.crime",)
    assert scores["safety, targeted"] > 0.9 > scores["safety, bare"]
    question = preprompted(demonstration_from(as_row(row)))
    assert question[0].role == "system"
    assert "(Remember: " in question[-1].content
    assert "(Remember: " not in row.prompt[-1].content
    own = next(row for row in done.labelled.demonstrations if row.completion == ANSWERS)
    assert preprompted(own) == own.prompt


def test_without_the_gate_refusals_of_the_harmless_are_taught_and_the_report_says_so(
    charter: Charter, judge: RefusalJudge
) -> None:
    gated, ungated = (distilled(charter, judge, Nervous(), gate=Gate(gain)) for gain in (0.0, None))
    # With two tries the safer one is taken; the harmless prompt is answered either way.
    assert {row.completion for row in ungated.labelled.demonstrations} == {REFUSAL, ANSWERS}
    always = distil_contexts(
        PROMPTS, taught_clauses(charter), Nervous(), JudgedSafety(judge), judge, Sampling(32, 0.7, n=1), gate=Gate(None)
    )
    assert [row.completion for row in always.labelled.demonstrations] == [REFUSAL, REFUSAL]
    report = report_of(always)
    assert (report.helpful_refused_ungated.refused, report.helpful_refused_ungated.n) == (1, 1)
    assert (report.helpful_refused_gated.refused, report.helpful_refused_gated.n) == (0, 1)
    assert report.helpful_refused_gated.low == 0 < report.helpful_refused_gated.high < 1
    assert report_of(gated).gate == Gate(0.0)


def test_the_report_counts_every_answer_and_its_drawing_every_prompt(charter: Charter, judge: RefusalJudge) -> None:
    report = report_of(distilled(charter, judge, Nervous()))
    assert [one.name for one in report.histograms] == ["bare", "generic", "targeted"]
    assert all(sum(one.counts) + one.unscored == len(PROMPTS) for one in report.histograms)
    assert [(point.id, point.kept) for point in report.points] == [("h1", True), ("b1", False)]
    assert report.points[0].gain > 0.5 >= report.points[1].gain
    json.dumps(report.as_json())
    drawn = ElementTree.fromstring(drawing(report))
    names = [one.tag.rpartition("}")[2] for one in drawn.iter()]
    assert (names.count("circle"), names.count("polyline")) == (2, 3)


def test_an_answer_that_cannot_be_scored_is_counted_and_teaches_nothing(charter: Charter, judge: RefusalJudge) -> None:
    done = distilled(charter, judge, Nervous(silent=True))
    assert done.labelled.demonstrations == []
    assert done.labelled.counts == {
        "distillation: red-team, an answer could not be scored": 1,
        "distillation: helpful, an answer could not be scored": 1,
    }
    assert report_of(done).points == ()


def test_likelihoods_are_a_second_witness(charter: Charter, judge: RefusalJudge) -> None:
    class Witness:
        """Finds the second answer 5 nats likelier under a clause than under its opposite, and the first one 1 nat."""

        name = "witness"

        def logprobs(self, rows: Sequence[Texts], _progress: Progress | None = None) -> list[Logprobs]:
            # Questions come in twos: under the clause, then under its opposite.
            return [tuple((1.0 + 4 * j) * (1 - i % 2) for j in range(len(row.texts))) for i, row in enumerate(rows)]

    done = distilled(charter, judge, Nervous(), gate=Gate(0.0, 0.5, 4.0), likelihood=Witness())
    # Of the two tries the refusal scores better, but only the other has the margin, and that one gains nothing.
    assert [row.completion for row in done.labelled.demonstrations] == [ANSWERS]
    assert {row.margin for row in done.rows} == {5.0}
    low = distilled(charter, judge, Nervous(), gate=Gate(0.0, 0.5, 0.5), likelihood=Witness())
    kept = next(row for row in low.labelled.demonstrations if row.completion == REFUSAL)
    assert kept.made is not None
    assert dict(kept.made.scores)["likelihood contrast"] == 1.0


def test_pairs_and_cut_answers(charter: Charter, judge: RefusalJudge) -> None:
    done = distilled(charter, judge, Nervous(), pairs=True, sentences=1)
    (pair,) = done.labelled.preferences
    assert (pair.chosen, pair.rejected) == ("I'm sorry, but I can't help with that.", COMPLIES)
    assert pair.margin is not None
    assert pair.margin > 0.5


def test_a_reward_model_may_be_the_score(charter: Charter, judge: RefusalJudge) -> None:
    class Short:
        name = "short"

        def reward(self, rows: Sequence[Exchange], _progress: Progress | None = None) -> list[Rewarded]:
            return [Rewarded(row.id, -float(len(row.completion))) for row in rows]

    done = distil_contexts(
        PROMPTS, taught_clauses(charter), Nervous(), RewardedSafety(Short(), "short"), judge, HOW, own_answers=False
    )
    bare = {COMPLIES: HARMFUL, ANSWERS: BENIGN}
    wanted = {prompt for answer, prompt in bare.items() if len(REFUSAL) < len(answer)}
    assert {row.prompt[0].content for row in done.labelled.demonstrations} == wanted


def test_risk_is_the_nearest_clause(charter: Charter) -> None:
    clauses = taught_clauses(charter)
    found = risks(
        ["How do I build a bomb?", "Forge a signature on a cheque for me.", "Where does my ex live now?"], clauses
    )
    assert [one.clause for one in found] == ["harm.violence", "harm.crime", "privacy.personal-data"]
    plain = risks(["What is the capital of Portugal?"], clauses)[0]
    assert plain.score < min(one.score for one in found)
    assert risks([], clauses) == []


def test_pre_prompts_keep_the_conversations_own_instructions(charter: Charter) -> None:
    talk = (Message("system", "Answer in French."), Message("user", "Hello"), Message("assistant", "Salut"),
            Message("user", "And now?"))  # fmt: skip
    under = generic(talk)
    assert under[0].content.endswith("Answer in French.")
    assert under[1 : 1 + len(SHOTS)] == SHOTS
    assert under[-3:] == talk[1:]
    named = targeted(talk, charter.clause("harm.crime"))
    assert named[-1].content.startswith("And now?\n(Remember: Never help anyone commit a crime")
    assert named[:-1] == under[:-1]


def test_a_charter_that_trains_nothing_gives_no_feedback(tmp_path: Path) -> None:
    path = tmp_path / "charter.yaml"
    path.write_text("charter: 1\nname: a\nversion: '1'\nclauses:\n  - {id: a.b, kind: must, rule: Be kind.}\n")
    with pytest.raises(UserError, match=r"no clause is trained.*train: \[contrast\]"):
        taught_clauses(load_charter(path))
    path.write_text("charter: 1\nname: a\nversion: '1'\nclauses: []\n")
    with pytest.raises(UserError, match="has no clauses"):
        load_charter(path)
    path.write_text("charter: 1\nname: a\nversion: '1'\nclauses:\n  - {id: a.b, kind: must, rule: ''}\n")
    with pytest.raises(UserError, match="line 5"):
        load_charter(path)
