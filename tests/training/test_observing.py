"""Looking at a policy inside its training: what is seen is right, and nothing of the training changes by it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rolling import PROMPTS, early_letters, reward_from
from safetensors.torch import load_file
from tiny import preferences

from charter.models.generation.local import LocalTextModel
from charter.models.lora import LoraSettings
from charter.ports import PolicyNow
from charter.records import Completion, Demonstration, Sampling, Word
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods import (
    BestOfNSettings,
    DpoSettings,
    GrpoSettings,
    PpoSettings,
    train_best_of_n,
    train_dpo,
    train_grpo,
    train_ppo,
)
from charter.training.observing import View, trained, untouched
from charter.training.policy import trainable_policy
from charter.training.reference import StartWeights
from charter.training.watch_settings import WatchSettings

LORA = {"r": 4, "dropout": 0.2}
STEPS = 8
DPO = DpoSettings.model_validate(
    {"epochs": 4, "batch_size": 4, "learning_rate": 0.01, "save_every": 3, "lora": LORA, "warmup": 0}
)
ROLLED = {
    "batch_size": 3,
    "epochs": 2,
    "learning_rate": 0.01,
    "sample_tokens": 6,
    "samples": 3,
    "lora": LORA,
    "reward": [{"function": "rolling:early_letters"}],
}


class Curious:
    """Looks at every step: samples, asks for all there is, and draws from every random stream that it can reach."""

    def __init__(self, say: Callable[[int], Word] = lambda _: Word()) -> None:
        self.say = say
        self.seen: dict[int, tuple[list[Any], list[Any]]] = {}

    def due(self, step: int, steps: int) -> bool:  # noqa: ARG002
        return True

    def look(self, policy: PolicyNow) -> Word:
        prompts = [one.prompt for one in PROMPTS]
        said = [own[0] for own in policy.model.generate(prompts, Sampling(6, temperature=1.0, seed=3))]
        far = policy.departures(prompts, said)
        rows = [Demonstration(p.id, p.prompt, p.chosen) for p in preferences(4)]
        self.seen[policy.step] = far, policy.log_ratios(rows)
        _ = random.random(), np.random.rand(), torch.rand(3)
        return self.say(policy.step)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "adapter_model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def dpo(base: Path, folder: Path, observer: Any = None) -> int:
    return train_dpo(str(base), preferences(), DPO, folder, observer=observer).result.steps


@pytest.mark.parametrize("method", ["dpo", "grpo", "ppo", "best_of_n"])
def test_weights_are_the_same_bit_by_bit_with_an_observer_and_without(
    method: str, tmp_path: Path, tiny_base: Path
) -> None:
    def run(folder: Path, observer: Any) -> None:
        if method == "dpo":
            dpo(tiny_base, folder, observer)
            return
        kind, train = {
            "grpo": (GrpoSettings, train_grpo),
            "ppo": (PpoSettings, train_ppo),
            "best_of_n": (BestOfNSettings, train_best_of_n),
        }[method]
        how: Any = kind.model_validate(ROLLED)
        train(str(tiny_base), PROMPTS, how, folder, reward_from(early_letters), observer=observer)  # type: ignore[operator]

    curious = Curious()
    run(tmp_path / "alone", None)
    run(tmp_path / "watched", curious)
    assert max(curious.seen) == len((tmp_path / "alone" / "metrics.jsonl").read_text().splitlines())
    alone, watched = weights(tmp_path / "alone"), weights(tmp_path / "watched")
    assert any(value.abs().sum() > 0 for name, value in alone.items() if "lora_B" in name)
    assert same(alone, watched)


def test_what_is_seen_is_the_distance_from_the_start(tiny_base: Path) -> None:
    policy = trainable_policy(str(tiny_base), LoraSettings(r=4), 0)
    policy.model.float()  # where bf16 is native, it would be that
    start = StartWeights(policy.model)
    logprobs = CompletionLogprobs(policy.model.eval())
    model = LocalTextModel.of(policy.model, policy.format.tokenizer)
    view = View(0, 1, model, policy, logprobs, start, 400)
    prompts = [one.prompt for one in PROMPTS]
    rows = [Demonstration(p.id, p.prompt, p.chosen) for p in preferences(4)]

    def sampled() -> list[Completion]:
        return [own[0] for own in model.generate(prompts, Sampling(6, temperature=1.0, seed=3))]

    # At the start the policy is its own reference.
    assert all(far is not None and far.kl == 0 for far in view.departures(prompts, sampled()))
    assert view.log_ratios(rows) == [0, 0, 0, 0]
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in trained(policy.model).values():
            weight.add_(torch.randn(weight.shape, generator=drawn) * 0.2)

    def tables(prompt: Any, tokens: tuple[int, ...]) -> list[torch.Tensor]:
        ids = policy.format.prompt_ids(prompt)

        def table() -> torch.Tensor:
            with torch.no_grad():
                logits = policy.model(input_ids=torch.tensor([ids + tokens])).logits[0].double()
            return logits[len(ids) - 1 : -1].log_softmax(-1)

        with start.restored():
            reference = table()
        return [table(), reference]

    said = sampled()
    failed = replace(said[0], text="", tokens=(), error="too long", finish="error")
    found = view.departures([*prompts, prompts[0]], [*said, failed])
    assert found[-1] is None
    for prompt, one, far in zip(prompts, said, found, strict=False):
        now, before = tables(prompt, one.tokens)
        assert far is not None
        assert far.tokens == len(one.tokens)
        assert far.kl == pytest.approx(float((now.exp() * (now - before)).sum()), rel=1e-3)
        assert far.kl > 0.01
        assert far.entropy == pytest.approx(float(-(now.exp() * now).sum(-1).mean()), rel=1e-4)
    for row, ratio in zip(rows, view.log_ratios(rows), strict=True):
        tokens = policy.format.completion_ids(row.prompt, row.completion)
        now, before = (table[range(len(tokens)), tokens].sum() for table in tables(row.prompt, tokens))
        assert ratio == pytest.approx(float(now - before), rel=1e-3, abs=1e-4)
        assert abs(ratio) > 1e-3
    assert replace(view, max_tokens=20).log_ratios(rows) == [None] * 4


def test_a_word_stops_the_training_and_gives_marked_weights_back(tmp_path: Path, tiny_base: Path) -> None:
    whole = Curious(lambda step: Word(mark=step == 3, back=step == STEPS))
    assert dpo(tiny_base, tmp_path / "back", whole) == STEPS
    stopped = Curious(lambda step: Word(mark=step == 3, stop=step == 5, back=step == 5))
    assert dpo(tiny_base, tmp_path / "stopped", stopped) == 5
    assert max(stopped.seen) == 5
    # Without `back` a stop leaves the weights where they are.
    three = Curious(lambda step: Word(stop=step == 3))
    assert dpo(tiny_base, tmp_path / "three", three) == 3
    dpo(tiny_base, tmp_path / "end")
    at_three = weights(tmp_path / "three")
    assert same(weights(tmp_path / "back"), at_three)
    assert same(weights(tmp_path / "stopped"), at_three)
    assert not same(weights(tmp_path / "end"), at_three)


def test_a_resumed_run_compares_with_its_start_and_ends_alike(tmp_path: Path, tiny_base: Path) -> None:
    class Cut(Exception):
        """In place of a kill."""

    def cut(step: int) -> Word:
        if step == 5:
            raise Cut
        return Word(mark=step == 2)

    with pytest.raises(Cut):
        dpo(tiny_base, tmp_path / "cut", Curious(cut))
    again = Curious(lambda step: Word(mark=step == 2, back=step == STEPS))
    dpo(tiny_base, tmp_path / "cut", again)
    assert min(again.seen) == 3  # from the checkpoint, which a look follows
    once = Curious(lambda step: Word(mark=step == 2, back=step == STEPS))
    dpo(tiny_base, tmp_path / "once", once)
    assert {step: again.seen[step] for step in again.seen} == {step: once.seen[step] for step in again.seen}
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "once"))


def test_a_look_leaves_random_streams_and_modes_as_they_were() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    model[1].eval()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with contextlib.suppress(RuntimeError), untouched(model):
        _ = random.random(), np.random.rand(), torch.rand(3)
        model.eval()
        raise RuntimeError
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    assert [part.training for part in (model, *model)] == [True, True, False]


def test_looks_are_spread_over_the_run() -> None:
    assert WatchSettings().planned(10) == {0, 10}
    assert WatchSettings().planned(99) == {0, 99}
    assert WatchSettings().planned(100) == {0, 50, 100}
    assert WatchSettings().planned(10_000) == {0, 2500, 5000, 7500, 10_000}
    assert WatchSettings(looks=3).planned(9) == {0, 4, 9}
    assert WatchSettings(every=4).planned(9) == {0, 4, 8, 9}
    for how in (WatchSettings(), WatchSettings(every=4), WatchSettings(looks=9)):
        assert {step for step in range(31) if how.due(step, 30)} == how.planned(30)
    for wrong in ({"looks": 3, "every": 2}, {"suites": []}):
        with pytest.raises(ValueError, match=r"does nothing|name a truth"):
            WatchSettings.model_validate(wrong)
