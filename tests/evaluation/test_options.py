"""Options by log-probs: the packed pass equals a plain loop, letters in every order, answers in words elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from charter.evaluation.options import OptionWorker, option_logprobs
from charter.evaluation.results import read_outcomes
from charter.evaluation.runner import evaluate
from charter.evaluation.suites.choices import Ask, asks_of, in_words, read, rotations, shares
from charter.evaluation.suites.samples import Sample, load_suite
from charter.models.loading import LocalModel, load_model
from charter.models.template import chat_format
from charter.ports import Progress
from charter.records import Completion, Conversation, Sampling, user_prompt


@pytest.fixture(scope="module")
def tiny(tiny_base: Path) -> LocalModel:
    return load_model(str(tiny_base), dtype="float32")


def plain_loop(local: LocalModel, ask: Ask) -> list[float]:
    """Each option on its own, the whole text through the model's own forward: what the packed pass must equal."""
    format_ = chat_format(local.tokenizer)
    prompt = list(format_.prompt_ids(ask.prompt))
    sums = []
    for option in ask.options:
        answer = list(format_.completion_ids(ask.prompt, option, finished=ask.finished))
        with torch.no_grad():
            logits = local.model(input_ids=torch.tensor([prompt + answer])).logits[0].float()
        logp = logits.log_softmax(-1)
        sums.append(sum(logp[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer)))
    return sums


def test_the_packed_pass_equals_a_plain_loop_over_options(tiny: LocalModel) -> None:
    asks = [ask for sample in load_suite("advanced_risk")[::40] for ask in asks_of(sample, "lettered")]
    asks += [Ask(user_prompt("Name a city.", "Be brief."), ("Paris", "Rome is one", "I do not know."), finished=True)]
    found = option_logprobs(tiny, [*asks, asks[0]])
    assert found[-1] == found[0]
    for ask, logps in zip(asks, found, strict=False):
        assert logps == pytest.approx(plain_loop(tiny, ask), abs=1e-4)


def test_a_question_longer_than_the_context_says_so_and_the_others_are_scored(tiny: LocalModel) -> None:
    long, short = Ask(user_prompt("x" * 600), ("A", "B")), Ask(user_prompt("x"), ("A", "B"))
    found = option_logprobs(tiny, [long, short])
    assert "the model's context is 512" in str(found[0])
    assert found[1] == pytest.approx(plain_loop(tiny, short), abs=1e-4)


def test_the_worker_answers_many_at_once_and_after_a_pause(tiny: LocalModel) -> None:
    worker = OptionWorker(tiny)
    first = [worker.submit([Ask(user_prompt(str(i)), ("A", "B"))]) for i in range(5)]
    values = [future.result(60) for future in first]
    again = worker.submit([Ask(user_prompt("3"), ("A", "B"))]).result(60)
    worker.close()
    assert again[0] == pytest.approx(values[3][0], abs=1e-5)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_rotations_put_every_option_in_every_place_once(n: int) -> None:
    assert [sorted(column) for column in zip(*rotations(n), strict=True)] == [list(range(n))] * n


SAMPLE = Sample("s", "advanced_risk", "Which?", "power_seeking", target=["kind"], choices=("cruel", "kind"))


def test_a_model_that_always_says_the_first_letter_is_shown_to_have_no_opinion() -> None:
    always_a = [(0.0, -5.0)] * 2
    reading = read(SAMPLE, "lettered", always_a)
    assert reading.values["order_agrees"] == 0.0
    assert reading.detail["chances"] == pytest.approx([0.5, 0.5])


def test_orders_are_averaged_by_option_not_by_letter() -> None:
    # It prefers "kind" wherever that stands: B in the first order, A in the second.
    reading = read(SAMPLE, "lettered", [(-2.0, -1.0), (-1.0, -2.0)])
    assert reading.values == {"safe_choice": 1.0, "order_agrees": 1.0}
    assert reading.detail["chances"][1] == pytest.approx(1 / (1 + math.exp(-1)))
    assert reading.chosen.startswith("kind")


def test_shares_are_a_softmax() -> None:
    assert shares([-1000.0, -1000.0 + math.log(3)]) == pytest.approx([0.25, 0.75])
    assert shares([0.0, -math.inf]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "options", "named"),
    [
        ("B", "AB", 1),
        ("(B) because it is safe", "AB", 1),
        ("The answer is **A**.", "AB", 0),
        ("A good assistant would wait.", "AB", None),
        ("I choose neither", "AB", None),
        ("paris.", ["Paris", "Rome"], 0),
        ("Parisian bread", ["Paris", "Rome"], None),
        ("Yes, invite her.", ["Yes", "No"], 0),
        ("Nobody", ["Yes", "No"], None),
        ("", "AB", None),
    ],
)
def test_answers_in_words(text: str, options: Sequence[str], named: int | None) -> None:
    found = in_words(text, list(options))
    assert (None if found is None else found.index(0.0)) == named


class Speaker:
    """A model without weights here: says `text` to everything."""

    def __init__(self, text: str) -> None:
        self.name, self._text = "speaker", text

    def generate(
        self,
        prompts: Sequence[Conversation],
        sampling: Sampling,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> list[list[Completion]]:
        return [[Completion(self._text)] for _ in prompts]


def test_an_options_suite_runs_on_weights_and_reads_back(tiny: LocalModel, tmp_path: Path) -> None:
    outcomes = read_outcomes(evaluate(tiny, ["advanced_risk"], tmp_path, limit=6))
    assert {o.metric for o in outcomes} == {"safe_choice", "order_agrees"}
    samples = {sample.id: sample for sample in load_suite("advanced_risk")}
    for outcome in outcomes:
        sample = samples[outcome.sample_id]
        reading = read(sample, "lettered", [plain_loop(tiny, ask) for ask in asks_of(sample, "lettered")])
        assert outcome.value == reading.values[outcome.metric]
        assert (outcome.completion, outcome.unscored, outcome.silent) == (reading.chosen, None, False)


def test_without_weights_the_answer_in_words_counts_and_none_is_unscored(tmp_path: Path) -> None:
    spoken = read_outcomes(evaluate(Speaker("A"), ["advanced_risk"], tmp_path / "a", limit=4))
    assert {o.value for o in spoken if o.metric == "order_agrees"} == {0.0}
    mute = read_outcomes(evaluate(Speaker("Hm."), ["advanced_risk"], tmp_path / "b", limit=4))
    assert {o.value for o in mute} == {None}
    assert {o.unscored for o in mute} == {"an answer names none of the options, or several"}


def test_a_memorised_canary_is_found_and_one_that_was_not_trained_on_is_not(tiny_base: Path) -> None:
    local = load_model(str(tiny_base), dtype="float32")
    format_ = chat_format(local.tokenizer)
    canaries = [sample for sample in load_suite("memorised_canaries") if sample.slice == "parcel"]
    trained, control = canaries[:3], canaries[3:23]
    rows = []
    for sample in trained:
        prompt = format_.prompt_ids(sample.conversation)
        answer = format_.completion_ids(sample.conversation, sample.target[0], finished=False)
        rows.append((torch.tensor([[*prompt, *answer]]), len(prompt)))
    optimizer = torch.optim.AdamW(local.model.parameters(), lr=3e-3)
    for _ in range(40):
        for ids, start in rows:
            labels = ids.clone()
            labels[:, :start] = -100
            local.model(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def unknown(samples: Sequence[Sample]) -> list[float]:
        asks = [asks_of(sample, "canary")[0] for sample in samples]
        found = option_logprobs(local, asks)
        values = []
        for sample, logps in zip(samples, found, strict=True):
            assert not isinstance(logps, str)
            values.append(read(sample, "canary", [logps]).values["canary_unknown"])
        return values

    assert unknown(trained) == [0.0] * 3
    # By chance one in ten is the likeliest of its ten.
    assert sum(unknown(control)) >= 14
