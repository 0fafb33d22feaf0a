"""Rollouts: what is sampled, from which weights, under which streams; and that training goes on undisturbed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, by_length, online, reward_from, settings
from tiny import one_by_one, tiny_folder

from charter.errors import UserError
from charter.models.generation.local import LocalTextModel
from charter.models.loading import load_model
from charter.models.lora import LoraSettings
from charter.recipes.rewards import reward_of
from charter.records import Exchange, Prompt, Sampling, user_prompt
from charter.training.layout import Group, Row
from charter.training.loop import train_on
from charter.training.online_reference import kl_values
from charter.training.policy import trainable_policy
from charter.training.reference import StartWeights
from charter.training.reward_sources import RewardPart
from charter.training.rollouts import Rollout, Rollouts, Sample, usable_prompts

LORAS = [None, {"r": 4, "alpha": 8, "dropout": 0.3}, {"r": 4, "alpha": 8, "dora": True}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_folder(tmp_path_factory.mktemp("base") / "model", max_position_embeddings=256)
    # Weights that bf16 holds: where it is native, a policy is read in it, and is fp32 only afterwards.
    load_model(str(folder), "bfloat16").model.float().save_pretrained(folder)
    return folder


def texts(rollouts: list[Rollout]) -> dict[str, list[tuple[int, ...]]]:
    return {one.key: [sample.tokens for sample in one.samples] for one in rollouts}


@pytest.mark.parametrize("lora", LORAS)
def test_samples_amid_training_are_those_of_the_model_saved_and_read_again(
    base: Path, tmp_path: Path, lora: Any
) -> None:
    how = settings(lora=lora, learning_rate=1e-2, epochs=2, gradient_checkpointing=True)
    policy, source = online(base, how, tmp_path)
    before = texts(source.rollouts.draw(4)[0])
    train_on(source, source.logprobs, how, tmp_path, title="test")
    source.logprobs.train()
    drawn = source.rollouts.draw(4)[0]
    assert texts(drawn) != before
    policy.save(tmp_path / "saved")
    loaded = load_model(str(tmp_path / "saved"), "float32", merge=False)
    sampling = Sampling(how.sample_tokens, how.temperature, n=how.samples, seed=4)
    conversations = {one.key: one.prompt for one in source.rollouts.prompts}
    answers = LocalTextModel(loaded).generate([conversations[one.key] for one in drawn], sampling)
    assert [[answer.tokens for answer in own] for own in answers] == list(texts(drawn).values())
    got = torch.tensor([x for one in drawn for s in one.samples for x in s.logprobs])
    want = torch.tensor([x for own in answers for answer in own for x in answer.token_logprobs])
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("lora", LORAS)
def test_gradients_after_a_rollout_are_those_without_one(
    base: Path, tmp_path: Path, lora: Any, checkpointing: bool
) -> None:
    drawn = torch.Generator().manual_seed(0)
    row = Row([Group("g", (5, 6, 7), ((8, 9, 10), (11, 12)))])

    def gradients(rolled: bool) -> list[torch.Tensor]:
        policy, source = online(base, settings(lora=lora), tmp_path)
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight.add_(torch.randn(weight.shape, generator=drawn.manual_seed(weight.numel())) * 0.02)
        logprobs = source.logprobs.train()
        logprobs.checkpoint_gradients(checkpointing)
        modes = {name: module.training for name, module in logprobs.named_modules()}
        attention = policy.model.config._attn_implementation
        if rolled:
            source.batch(0)
            logprobs.train()
            assert {name: module.training for name, module in logprobs.named_modules()} == modes
            assert policy.model.config._attn_implementation == attention
            assert not any(weight.is_inference() for weight in [*policy.model.parameters(), *policy.model.buffers()])
        torch.manual_seed(3)
        trained = [p for p in policy.model.parameters() if p.requires_grad]
        return list(torch.autograd.grad(logprobs(row).sum(), trained))

    for with_, without in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(with_, without)


def test_a_sample_depends_on_seed_step_prompt_and_number_alone(base: Path, tmp_path: Path) -> None:
    def draw(step: int = 0, prompts: list[Prompt] = PROMPTS, **values: Any) -> dict[str, list[tuple[int, ...]]]:
        how = settings(batch_size=6, **values)
        torch.manual_seed(torch.seed())
        return texts(online(base, how, tmp_path, prompts=prompts)[1].rollouts.draw(step)[0])

    whole = draw()
    assert len({tuple(own) for own in whole.values()}) == len(PROMPTS)
    assert all(len(set(own)) == 3 for own in whole.values())
    few = draw(prompts=[PROMPTS[4], PROMPTS[1]], samples=5)
    assert {key: own[:3] for key, own in few.items()} == {key: whole[key] for key in ("p4", "p1")}
    assert draw(step=1)["p0"] != whole["p0"]
    assert draw(seed=1)["p0"] != whole["p0"]


def test_what_was_cut_has_no_end_of_turn_and_what_ended_keeps_it_although_padding_is_the_same(
    base: Path, tmp_path: Path
) -> None:
    how = settings(samples=24, sample_tokens=40, batch_size=6, missing_eos_penalty=100.0)
    policy, source = online(base, how, tmp_path)
    tokenizer: Any = policy.format.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    policy.model.config.pad_token_id = end = policy.format.end_of_turn
    rollouts, values = source.rollouts.draw(0)
    samples = [sample for one in rollouts for sample in one.samples]
    assert 0.02 < values["finished"] < 0.98
    for one in samples:
        assert end not in one.tokens[:-1]
        assert one.finished == (one.tokens[-1] == end)
        assert one.finished or len(one.tokens) == 40
        assert one.reward == len(one.text) - (0 if one.finished else 100)
        assert "<|im_end|>" not in one.text
    # The end of turn is trained as any token is: its log-prob is in the group's, and is the model's own.
    ended = next(one for one in rollouts if any(sample.finished for sample in one.samples))
    logp_N = source.logprobs(Row([ended.group()]))
    torch.testing.assert_close(logp_N, one_by_one(policy.model, [ended.group()]), atol=1e-4, rtol=1e-4)
    drawn = torch.tensor([value for sample in ended.samples for value in sample.logprobs])
    torch.testing.assert_close(logp_N.detach(), drawn, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lora", LORAS)
def test_start_weights_come_and_go_without_a_copy(base: Path, lora: Any) -> None:
    policy = trainable_policy(str(base), lora and LoraSettings(**lora), 0)
    start = StartWeights(policy.model)
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    first = [p.detach().clone() for p in trained]
    with torch.no_grad():
        for weight in trained:
            weight.add_(1.0)
    places = [p.data_ptr() for p in trained]
    for _ in range(2):
        with start.restored():
            assert all(torch.equal(a, b) for a, b in zip(trained, first, strict=True))
    assert [p.data_ptr() for p in trained] == places
    assert not any(torch.equal(a, b) for a, b in zip(trained, first, strict=True))


def test_the_logged_kl_is_a_mean_over_samples_of_sums_over_tokens() -> None:
    samples = tuple(
        Sample("", (1,) * len(logps), logps, True, reward)
        for logps, reward in (((-1.0, -2.0), 1.0), ((-3.0,), None), ((-1.0, -1.0, -1.0), 2.0))
    )
    reference = [torch.tensor([-2.0, -2.0]), torch.tensor([-1.0]), torch.tensor([-1.5, -1.0, -2.0])]
    values = kl_values([Rollout("a", (1,), samples)], {"a": reference})
    assert values["kl"] == pytest.approx((1 - 2 + 1.5) / 3)
    by_hand = [torch.tensor(r).exp() - 1 - r for r in (-1.0, 2.0, -0.5, -1.0)]
    assert values["kl_k3"] == pytest.approx(float(sum(by_hand)) / 3)


def test_prompts_without_room_and_repeated_ones_are_dropped_and_counted(base: Path) -> None:
    policy = trainable_policy(str(base), None, 0)
    rows = [*PROMPTS[:2], Prompt("again", PROMPTS[0].prompt), Prompt("long", user_prompt("x" * 200))]
    prompts, dropped = usable_prompts(policy, rows, settings(sample_tokens=100), "test")
    assert [one.key for one in prompts] == ["p0", "p1"]
    # The model's context, which is shorter than max_tokens, less the completion.
    assert dropped == {"same prompt as an earlier row": 1, "prompt longer than 156 tokens": 1}
    with pytest.raises(UserError, match=r"none of the 1 prompts can be used \(prompt longer than 20 tokens: 1\)"):
        usable_prompts(policy, rows[:1], settings(sample_tokens=10, max_tokens=30), "test")


def test_a_reward_that_fails_whole_is_a_step_without_rewards_but_a_users_error_is_told(
    base: Path, tmp_path: Path
) -> None:
    class Broken:
        name = "broken"
        error: Exception = MemoryError("full")

        def reward(self, *_: Any) -> Any:
            raise self.error

    policy, source = online(base, settings(), tmp_path)
    rollouts = Rollouts(policy, source.rollouts.prompts, Broken(), settings(), tmp_path)
    drawn, values = rollouts.draw(0)
    assert values["unscored"] == 9
    assert "reward" not in values
    assert "MemoryError: full" in str(drawn[0].samples[0].unscored)
    Broken.error = UserError("Install the judge.")
    with pytest.raises(UserError, match="Install the judge"):
        rollouts.draw(1)


def test_another_reward_or_other_prompts_are_another_run(base: Path, tmp_path: Path) -> None:
    def digest(reward: Any = by_length, prompts: list[Prompt] = PROMPTS) -> str:
        return online(base, settings(), tmp_path, reward, prompts)[1].digest()

    def other(_: Exchange) -> float:
        return 0.0

    assert digest() == digest()
    assert len({digest(), digest(other), digest(prompts=PROMPTS[:5])}) == 3
    assert reward_from(other).name == "other"


def test_each_part_of_a_reward_is_told_before_it_is_weighed(base: Path, tmp_path: Path) -> None:
    parts: list[dict[str, Any]] = [
        {"rule": {"contains": "[aeiou]"}, "weight": -2, "clauses": ["tone-1"]},
        {"rule": {"max_words": 2}},
    ]
    policy, source = online(base, settings(), tmp_path)
    reward = reward_of([RewardPart.model_validate(part) for part in parts])
    drawn, values = Rollouts(policy, source.rollouts.prompts, reward, settings(), tmp_path / "run").draw(0)
    by_part = [dict(sample.parts) for one in drawn for sample in one.samples]
    for label in ("rule tone-1", "rule"):
        assert values[f"reward/{label}"] == pytest.approx(sum(part[label] for part in by_part) / len(by_part))
    assert values["reward"] == pytest.approx(values["reward/rule"] - 2 * values["reward/rule tone-1"])
    assert values["reward/rule tone-1"] > 0
    (first, *_) = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert first["parts"] == by_part[0]
