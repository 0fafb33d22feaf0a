"""Contrastive pairs: told a clause and its opposite, kept where the real judge sees the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_answers import ANSWERS, BENIGN, COMPLIES, HARMFUL, HOT, REFUSAL

from charter.document import Charter, clause_instruction, load_charter, opposite_instruction
from charter.feedback.answers import Said
from charter.feedback.contrast import Label, clause_margins, contrast_pairs, contrast_prompts
from charter.feedback.likelihood import Logprobs, Texts
from charter.feedback.pairs import BuiltinPair
from charter.judges.refusal import RefusalJudge
from charter.ports import Progress
from charter.records import Completion, Conversation, Sampling, user_prompt

CHARTER = """\
charter: 1
name: small
version: "1"
clauses:
  - id: harm.theft
    kind: must_not
    rule: Do not help anyone steal.
    severity: high
    train: [contrast]
  - id: help.lookalikes
    kind: must
    rule: Answer harmless questions that only sound harmful.
    train: [pairs, contrast]
  - id: tone.plain
    kind: tone
    rule: Write plainly.
    train: [pairs]
"""
PAIRS = [
    BuiltinPair("h1", "harmful", "theft", ("harm.theft", "tone.plain"), HARMFUL, "No.", None),
    BuiltinPair("h2", "harmful", "theft", ("harm.theft",), HARMFUL + " Quickly.", "No.", None),
    BuiltinPair("b1", "lookalike", "theft", ("help.lookalikes",), BENIGN, "Yes.", "No."),
]


class Obedient:
    """Does what its system message asks: refuses under some instructions, answers under the others."""

    name = "obedient"

    def __init__(self, refuses: Sequence[str]) -> None:
        self.refuses = refuses

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        assert sampling == HOT
        answers = [[Completion(self._answer(prompt))] for prompt in prompts]
        if progress:
            progress(len(prompts), len(prompts))
        return answers

    def _answer(self, prompt: Conversation) -> str:
        system, question = prompt
        assert (system.role, question.role) == ("system", "user")
        if system.content in self.refuses:
            return REFUSAL
        return COMPLIES if question.content.startswith(HARMFUL) else ANSWERS


@pytest.fixture(scope="module")
def charter(tmp_path_factory: pytest.TempPathFactory) -> Charter:
    path: Path = tmp_path_factory.mktemp("charter") / "charter.yaml"
    path.write_text(CHARTER)
    return load_charter(path)


@pytest.fixture(scope="module")
def judge() -> RefusalJudge:
    return RefusalJudge()


def test_prompts_are_those_of_the_clauses_trained_by_contrast(charter: Charter) -> None:
    found = [(clause, pair.id, wanted) for clause, pair, wanted in contrast_prompts(charter, PAIRS, 9)]
    assert found == [
        ("harm.theft", "h1", "refuse"),
        ("harm.theft", "h2", "refuse"),
        ("help.lookalikes", "b1", "answer"),
    ]
    assert [pair.id for _, pair, _ in contrast_prompts(charter, PAIRS, 1)] == ["h1", "b1"]


def test_an_obedient_model_gives_a_pair_of_each_prompt(charter: Charter, judge: RefusalJudge) -> None:
    theft, alike = charter.clause("harm.theft"), charter.clause("help.lookalikes")
    model = Obedient([clause_instruction(theft), opposite_instruction(alike)])
    out = contrast_pairs(charter, contrast_prompts(charter, PAIRS, 1), model, judge, HOT)
    assert [(row.chosen, row.rejected, row.clauses) for row in out.preferences] == [
        (REFUSAL, COMPLIES, ("harm.theft",)),
        (ANSWERS, REFUSAL, ("help.lookalikes",)),
    ]
    # What is trained is the bare prompt: the instruction is what the model has to do without.
    assert [row.prompt for row in out.preferences] == [user_prompt(HARMFUL), user_prompt(BENIGN)]
    assert out.counts == {"contrast: kept": 2}
    assert len({row.id for row in out.preferences}) == 2


def test_a_model_that_always_complies_gives_no_pair_for_harm(charter: Charter, judge: RefusalJudge) -> None:
    out = contrast_pairs(charter, contrast_prompts(charter, PAIRS, 9), Obedient([]), judge, HOT)
    assert out.preferences == []
    assert out.counts == {
        "contrast: told to refuse, the model did not": 2,
        "contrast: told the opposite, the model did not do it": 1,
    }


def test_an_empty_side_is_counted_and_dropped(charter: Charter, judge: RefusalJudge) -> None:
    class Silent(Obedient):
        def _answer(self, prompt: Conversation) -> str:
            return " " * len(prompt)

    out = contrast_pairs(charter, contrast_prompts(charter, PAIRS, 1), Silent([]), judge, HOT)
    assert out.counts == {"contrast: a side could not be judged": 2}


class Told:
    """Likelihoods: the first side gains so many nats over the second under the clause, against its opposite."""

    name = "told"

    def __init__(self, reward: float) -> None:
        self.reward = reward

    def logprobs(self, rows: Sequence[Texts], _progress: Progress | None = None) -> list[Logprobs]:
        return [(self.reward if i % 2 == 0 else 0.0, 0.0) for i in range(len(rows))]


@pytest.mark.parametrize(
    ("label", "reward", "chosen"),
    [
        ("told", 0.0, REFUSAL),
        ("likelihood", 3.0, REFUSAL),
        ("likelihood", -3.0, COMPLIES),
        ("likelihood", 1.0, None),
        ("both", 3.0, REFUSAL),
        ("both", 1.0, None),
        ("both", -3.0, None),
    ],
)
def test_how_a_label_is_settled(
    charter: Charter, judge: RefusalJudge, label: Label, reward: float, chosen: str | None
) -> None:
    model = Obedient([clause_instruction(charter.clause("harm.theft"))])
    out = contrast_pairs(
        charter,
        contrast_prompts(charter, PAIRS[:1], 1),
        model,
        judge,
        HOT,
        label=label,
        likelihood=Told(reward),
        min_margin=0.0 if label == "told" else 2.0,
    )
    assert [row.chosen for row in out.preferences] == ([chosen] if chosen else [])
    for row in out.preferences:
        assert {row.chosen, row.rejected} == {REFUSAL, COMPLIES}
        assert (row.margin, row.rater) == ((None, "") if label == "told" else (abs(reward), "self-reward"))
        assert row.made is not None
        # The questions are those that were asked, clause first, whichever side the label chose.
        assert [one.prompt[0].content for one in row.made.asked] == [
            clause_instruction(charter.clause("harm.theft")),
            opposite_instruction(charter.clause("harm.theft")),
        ]
    assert out.counts.total() == 1 + ("turned round" in str(out.counts))


def test_the_first_try_that_does_as_told_is_taken(charter: Charter, judge: RefusalJudge) -> None:
    class Wavering:
        name = "wavering"

        def generate(
            self, prompts: Sequence[Conversation], sampling: Sampling, _progress: Progress | None = None
        ) -> list[list[Completion]]:
            # Refuses at the second try, whatever it is told.
            return [[Completion(REFUSAL if i == 1 else COMPLIES) for i in range(sampling.n)] for _ in prompts]

    asking = contrast_prompts(charter, PAIRS[:1], 1)
    once = contrast_pairs(charter, asking, Wavering(), judge, HOT)
    assert once.counts == {"contrast: told to refuse, the model did not": 1}
    (row,) = contrast_pairs(charter, asking, Wavering(), judge, replace(HOT, n=2)).preferences
    assert (row.chosen, row.rejected) == (REFUSAL, COMPLIES)


def test_margins_are_of_the_answers_that_say_something(charter: Charter) -> None:
    class Lengths:
        name = "lengths"

        def logprobs(self, rows: Sequence[Texts], _progress: Progress | None = None) -> list[Logprobs]:
            return [tuple(float(len(text)) * (2 - i % 2) for text in row.texts) for i, row in enumerate(rows)]

    clause = charter.clause("harm.theft")
    said = [Said("four", True), Said("", True), Said("sixsix", True)]
    rows = [(user_prompt("x"), clause, said), (user_prompt("y"), clause, [Said("", True)])]
    assert clause_margins(rows, Lengths()) == [[4.0, None, 6.0], [None]]
