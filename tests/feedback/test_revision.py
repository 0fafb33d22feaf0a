"""Critique and revision with scripted and tiny real models: requests from the clauses, what is kept, what is
counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from test_answers import ANSWERS, BENIGN, COMPLIES, HARMFUL, REFUSAL

from charter.document import Charter, load_charter
from charter.feedback.prompt_mix import MixedPrompt
from charter.feedback.revision import SHOTS, Revising, label_revisions, revise
from charter.feedback.safety import JudgedSafety
from charter.judges.refusal import RefusalJudge
from charter.models.generation.local import LocalTextModel
from charter.models.loading import load_model
from charter.ports import Progress
from charter.recipes.feedback_stage import SafetyAgrees
from charter.records import Completion, Conversation, Sampling, as_row, demonstration_from, user_prompt

CHARTER = """\
charter: 1
name: small
version: "1"
clauses:
  - id: harm.theft
    kind: must_not
    rule: Never help anyone steal.
    instead: Say that you cannot help.
    train: [contrast]
  - id: tone.kind
    kind: tone
    rule: Be kind.
    critique: Was that kind?
    revision: Say it kindly.
    train: [contrast]
"""
PROMPTS = [
    MixedPrompt("h1", user_prompt(HARMFUL), "red_team", ("harm.theft",)),
    MixedPrompt("b1", user_prompt(BENIGN), "helpful"),
]
HOW = Sampling(32, 0.7, seed=2)


class Policy:
    """Complies with everything."""

    name = "policy"

    def __init__(self) -> None:
        self.asked: list[tuple[Conversation, Sampling]] = []

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        self.asked += [(prompt, sampling) for prompt in prompts]
        if progress:
            progress(len(prompts), len(prompts))
        return [[Completion(self.answer(prompt))] for prompt in prompts]

    def answer(self, prompt: Conversation) -> str:
        return COMPLIES if HARMFUL in prompt[-1].content else ANSWERS


class Critic(Policy):
    """Finds fault; rewrites every answer as a refusal."""

    name = "critic"

    def answer(self, prompt: Conversation) -> str:
        return "It helps with a crime." if "ritique" in prompt[-1].content or "kind?" in prompt[-1].content else REFUSAL


@pytest.fixture(scope="module")
def charter(tmp_path_factory: pytest.TempPathFactory) -> Charter:
    path: Path = tmp_path_factory.mktemp("charter") / "charter.yaml"
    path.write_text(CHARTER)
    return load_charter(path)


@pytest.fixture(scope="module")
def agrees() -> SafetyAgrees:
    return SafetyAgrees(JudgedSafety(RefusalJudge()))


def test_rounds_draw_other_clauses_and_ask_in_their_words(charter: Charter) -> None:
    critic = Critic()
    seen: list[tuple[int, int]] = []
    rows = revise(PROMPTS, charter.clauses, Policy(), critic, HOW, 2, progress=lambda *now: seen.append(now))
    first = rows[0]
    assert [clause.id for clause in first.clauses] == ["harm.theft", "tone.kind"]
    assert [one.role for one in first.asked] == ["answer", "critique", "revision", "critique", "revision"]
    assert [one.model for one in first.asked] == ["policy", *["critic"] * 4]
    assert "Never help anyone steal." in first.asked[1].prompt[-1].content
    assert "Say that you cannot help." in first.asked[2].prompt[-1].content
    assert [one.prompt[-1].content for one in first.asked[3:]] == ["Was that kind?", "Say it kindly."]
    # The second round works on the first revision.
    assert first.asked[3].prompt[-2].content == REFUSAL
    assert first.asked[1].prompt[0].content == SHOTS[0].prompt
    assert seen[-1] == (10, 10)
    assert {how.temperature for _, how in critic.asked} == {0.0}


def test_kept_only_where_the_judge_finds_the_revision_better(charter: Charter, agrees: SafetyAgrees) -> None:
    rows = revise(PROMPTS, charter.clauses, Policy(), Critic(), HOW, 1)
    out = label_revisions(rows, agrees, 1, pairs=True)
    (kept,) = out.demonstrations
    assert (kept.prompt, kept.completion, kept.clauses) == (user_prompt(HARMFUL), REFUSAL, ("harm.theft",))
    (pair,) = out.preferences
    assert (pair.chosen, pair.rejected) == (REFUSAL, COMPLIES)
    assert out.counts == {
        "revision: red-team, kept": 1,
        "revision: helpful, no better by judge refusal": 1,
    }
    again = demonstration_from(as_row(kept))
    assert again == kept
    assert again.made is not None
    assert again.made.asked[2].answer == REFUSAL


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ("", "revision: unscored, the critic said nothing"),
        ("   \n", "revision: unscored, the critic said nothing"),
        (COMPLIES, "revision: the critic changed nothing"),
    ],
)
def test_a_critic_of_no_use_gives_no_row(charter: Charter, agrees: SafetyAgrees, said: str, counted: str) -> None:
    class Useless(Policy):
        def answer(self, _prompt: Conversation) -> str:
            return said

    out = label_revisions(revise(PROMPTS[:1], charter.clauses, Policy(), Useless(), HOW, 1), agrees, 1)
    assert (out.demonstrations, out.counts) == ([], {counted: 1})


def test_a_critic_that_talks_nonsense_convinces_nobody(charter: Charter, agrees: SafetyAgrees) -> None:
    class Nonsense(Policy):
        def answer(self, _prompt: Conversation) -> str:
            return "Purple ladders sing on Tuesday because the harbour is made of cheese and copper."

    out = label_revisions(revise(PROMPTS, charter.clauses, Policy(), Nonsense(), HOW, 1), agrees, 1)
    assert not [row for row in out.demonstrations if "red-team" in row.source]
    assert out.counts.total() == 2


def test_what_overflows_the_context_is_counted(charter: Charter, agrees: SafetyAgrees, tiny_base: Path) -> None:
    # The tiny model reads bytes, 512 of them: prompts fit, the worked examples do not.
    tiny = LocalTextModel(load_model(str(tiny_base), "float32"))
    rows = revise(PROMPTS, charter.clauses, tiny, tiny, Sampling(8), 1)
    assert all(row.failed and row.failed.startswith("the critic could not answer (") for row in rows)
    out = label_revisions(rows, agrees, 1)
    assert (out.demonstrations, out.counts.total()) == ([], 2)
    (fits,) = revise([PROMPTS[1]], charter.clauses[1:], tiny, tiny, Sampling(8), 1, shots=(), critique_tokens=8)
    assert fits.failed is None or "said nothing" in fits.failed


def test_an_unscored_revision_is_no_label(charter: Charter) -> None:
    class Unsure:
        name = "unsure"

        def better(self, prompts: Sequence[object], *_: object) -> list[None]:
            return [None] * len(prompts)

    rows: list[Revising] = revise(PROMPTS, charter.clauses, Policy(), Critic(), HOW, 1)
    out = label_revisions(rows, Unsure(), 1)  # type: ignore[arg-type]
    assert out.demonstrations == []
    assert out.counts == {"revision: red-team, unscored by unsure": 1, "revision: helpful, unscored by unsure": 1}
