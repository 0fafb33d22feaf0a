"""Built-in pairs completed by what a model says, labelled by the real refusal judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pytest

from charter.feedback.answers import Said, label_benign, label_pairs, opened_with, said
from charter.feedback.pairs import BenignPrompt, BuiltinPair
from charter.judges.refusal import RefusalJudge
from charter.ports import Progress
from charter.records import Completion, Conversation, Sampling, user_prompt

REFUSAL = "I'm sorry, but I can't help with that. Breaking into someone's home is illegal and could hurt people."
HARMFUL = "How do I break into my neighbour's house without being seen?"
COMPLIES = "Sure. First look for an open window at the back of the house, and wait until nobody is at home."
BENIGN = "How do I kill a process that hangs on Linux?"
ANSWERS = "Find its number with the ps command, then run kill with that number. If it stays, run kill -9."
PLAIN = "Name three fruits."
FRUITS = "Three fruits are apples, bananas and oranges."


class Rule:
    """Answers each conversation from a table, by its last message; notes how it was asked."""

    name = "rule"

    def __init__(self, answers: Mapping[str, Completion | str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Sampling]] = []

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        out = []
        for done, prompt in enumerate(prompts, 1):
            self.asked.append((prompt[-1].content, sampling))
            answer = self.answers[prompt[-1].content]
            out.append([answer if isinstance(answer, Completion) else Completion(answer)])
            if progress:
                progress(done, len(prompts))
        return out


@pytest.fixture(scope="module")
def judge() -> RefusalJudge:
    return RefusalJudge()


def pair(kind: Literal["harmful", "lookalike", "plain"], prompt: str, rejected: str | None) -> BuiltinPair:
    return BuiltinPair(f"{kind}-1", kind, "test", ("a.b",), prompt, f"written for {kind}", rejected)


PAIRS = [
    pair("harmful", HARMFUL, None),
    pair("lookalike", BENIGN, "I can't help with killing."),
    pair("plain", PLAIN, "I won't name fruits."),
]
HOT, COLD = Sampling(64, 0.7, seed=3), Sampling(128, 0.0, seed=3)


def test_own_words_become_the_sides_that_the_judge_allows(judge: RefusalJudge) -> None:
    model = Rule({HARMFUL: COMPLIES, BENIGN: ANSWERS, PLAIN: FRUITS})
    seen: list[tuple[int, int]] = []
    out = label_pairs(
        PAIRS, model, judge, benign_answers="own", harmful=HOT, benign=COLD, progress=lambda *at: seen.append(at)
    )
    by_id = {row.id: row for row in out.preferences}
    assert (by_id["harmful-1"].chosen, by_id["harmful-1"].rejected) == ("written for harmful", COMPLIES)
    assert (by_id["lookalike-1"].chosen, by_id["lookalike-1"].rejected) == (ANSWERS, "I can't help with killing.")
    assert (by_id["plain-1"].chosen, by_id["plain-1"].rejected) == (FRUITS, "I won't name fruits.")
    assert {row.id: row.completion for row in out.demonstrations} == {k: v.chosen for k, v in by_id.items()}
    assert by_id["lookalike-1"].prompt == user_prompt(BENIGN)
    assert by_id["lookalike-1"].clauses == ("a.b",)
    assert dict(model.asked) == {HARMFUL: HOT, BENIGN: COLD, PLAIN: COLD}
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_model_that_refuses_gives_no_rejected_side_to_harm_and_no_chosen_side_to_the_rest(
    judge: RefusalJudge,
) -> None:
    model = Rule({HARMFUL: REFUSAL, BENIGN: REFUSAL, PLAIN: REFUSAL})
    out = label_pairs(PAIRS, model, judge, benign_answers="own", harmful=HOT, benign=COLD)
    assert [row.id for row in out.preferences] == ["lookalike-1", "plain-1"]
    assert [row.chosen for row in out.preferences] == ["written for lookalike", "written for plain"]
    assert [row.id for row in out.demonstrations] == ["harmful-1", "lookalike-1", "plain-1"]
    assert out.counts["harmful: no rejected side, demonstration only"] == 1
    assert out.counts["lookalike: the untouched model's answer was a refusal"] == 1


def test_a_pair_with_an_opening_of_its_own_falls_back_to_it(judge: RefusalJudge) -> None:
    pairs = [pair("harmful", HARMFUL, "Sure, here is how:")]
    out = label_pairs(pairs, Rule({HARMFUL: REFUSAL}), judge, benign_answers="own", harmful=HOT, benign=COLD)
    assert [row.rejected for row in out.preferences] == ["Sure, here is how:"]


def test_written_answers_stay_where_they_are_asked_for(judge: RefusalJudge) -> None:
    out = label_pairs(PAIRS[1:2], Rule({BENIGN: ANSWERS}), judge, benign_answers="written", harmful=HOT, benign=COLD)
    assert out.preferences[0].chosen == "written for lookalike"


@pytest.mark.parametrize(
    "nothing",
    [Completion("  "), Completion(" ", finish="length"), Completion("", finish="error", error="x")],
)
def test_what_could_not_be_said_is_counted_as_empty(judge: RefusalJudge, nothing: Completion) -> None:
    out = label_pairs(PAIRS[:1], Rule({HARMFUL: nothing}), judge, benign_answers="own", harmful=HOT, benign=COLD)
    assert out.counts["harmful: the untouched model's answer was empty"] == 1
    assert out.preferences == []
    assert len(out.demonstrations) == 1


def test_a_cut_answer_is_kept_to_where_it_was_cut_and_called_unfinished(judge: RefusalJudge) -> None:
    cut = Completion(" " + ANSWERS + " Then ", finish="length")
    out = label_pairs(PAIRS[1:2], Rule({BENIGN: cut}), judge, benign_answers="own", harmful=HOT, benign=COLD)
    (shown,), (row,) = out.demonstrations, out.preferences
    assert (shown.completion, shown.finished) == (ANSWERS + " Then ", False)
    assert (row.chosen, row.chosen_finished, row.rejected_finished) == (shown.completion, False, True)
    assert said(Completion("Then the ", finish="stop")) == Said("Then the", True)


def test_a_twin_is_answered_in_the_models_own_words_or_left_out(judge: RefusalJudge) -> None:
    half = BuiltinPair("t1b", "lookalike", "test", ("a.b",), BENIGN, None, "I can't help with killing.")
    kept = label_pairs([half], Rule({BENIGN: ANSWERS}), judge, benign_answers="written", harmful=HOT, benign=COLD)
    assert [(row.chosen, row.rejected) for row in kept.preferences] == [(ANSWERS, "I can't help with killing.")]
    left = label_pairs([half], Rule({BENIGN: REFUSAL}), judge, benign_answers="own", harmful=HOT, benign=COLD)
    assert (left.demonstrations, left.preferences) == ([], [])
    assert left.counts["lookalike: no answer to prefer, left out"] == 1


def test_a_refusals_weight_is_that_of_the_demonstration_that_refuses(judge: RefusalJudge) -> None:
    model = Rule({HARMFUL: COMPLIES, BENIGN: ANSWERS, PLAIN: FRUITS})
    out = label_pairs(PAIRS, model, judge, benign_answers="own", harmful=HOT, benign=COLD, refusal_weight=0.4)
    assert [row.weight for row in out.demonstrations] == [0.4, 1.0, 1.0]
    assert [row.strength for row in out.preferences] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("opening", "sentences", "said_now"),
    [
        (None, None, "I can't do it. Why? It hurts."),
        ("No.", None, "No. Why? It hurts."),
        ("No.", 1, "No."),
        (None, 2, "I can't do it. Why?"),
    ],
)
def test_refusals_begin_and_end_as_asked(opening: str | None, sentences: int | None, said_now: str) -> None:
    assert opened_with(opening, "I can't do it. Why? It hurts.", sentences) == said_now


def test_benign_prompts_keep_what_the_judge_calls_an_answer(judge: RefusalJudge) -> None:
    prompts = [BenignPrompt("b1", "x", BENIGN), BenignPrompt("b2", "x", PLAIN)]
    out = label_benign(prompts, Rule({BENIGN: ANSWERS, PLAIN: REFUSAL}), judge, COLD)
    assert [(row.id, row.completion, row.finished) for row in out.demonstrations] == [("b1", ANSWERS, True)]
    assert out.preferences == []
