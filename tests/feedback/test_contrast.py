"""Contrastive pairs: told a clause and its opposite, kept where the real judge sees the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from test_answers import ANSWERS, BENIGN, COMPLIES, HARMFUL, HOT, REFUSAL

from charter.document import Charter, clause_instruction, load_charter, opposite_instruction
from charter.feedback.contrast import contrast_pairs, contrast_prompts
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
