"""A cost beside the reward, under a Lagrange multiplier, for GRPO and PPO."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, by_length, early_letters, reward_from
from safetensors.torch import load_file
from test_policy_gradients import online, settings
from tiny import metrics, tiny_folder

from charter.models.reward_head import new_head
from charter.recipes.rewards import aims_of, cost_of, reward_of
from charter.records import Exchange
from charter.training.loop import train_on
from charter.training.methods.grpo import train_grpo
from charter.training.methods.policy_gradient import PolicyUpdates
from charter.training.methods.ppo import PpoSettings, train_ppo
from charter.training.reward_sources import RewardPart
from charter.training.rollouts import Rollouts

COST = [{"function": "rolling:early_letters"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model", max_position_embeddings=256)


def constrained(base: Path, how: Any, folder: Path, cost: Any = early_letters) -> PolicyUpdates:
    policy, plain = online(base, how, folder, by_length)
    rollouts = Rollouts(policy, plain._rollouts.prompts, reward_from(by_length), how, folder, reward_from(cost))
    return PolicyUpdates(rollouts, plain.logprobs, plain._start, how, plain.method)


def test_what_is_learned_from_is_reward_less_cost_and_the_multiplier_follows_the_limit(
    base: Path, tmp_path: Path
) -> None:
    how = settings(cost=COST, cost_limit=0.1, multiplier=2.0, multiplier_rate=0.7, epochs=3, beta=0, epsilon=1e-3)
    source = constrained(base, how, tmp_path)
    batch = source.batch(0)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    objective: Any = batch.objective
    for group in batch.groups:
        own = [row for row in samples if row["id"] == group.key]
        joined = torch.tensor([(len(row["text"]) - 2 * row["cost"]) / 3 for row in own])
        want = (joined - joined.mean()) / (joined.std() + 1e-3)
        sizes = [len(completion) for completion in group.completions]
        got = torch.stack([part[0] for part in objective.learned.advantages[group.key].split(sizes)])
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    train_on(constrained(base, how, tmp_path / "run"), source.logprobs, how, tmp_path / "run", title="test")
    rows = metrics(tmp_path / "run")
    assert rows[0]["multiplier"] == pytest.approx(2)
    for row, following in pairwise(rows):
        want = math.log(row["multiplier"]) + 0.7 * row["multiplier"] * (row["cost"] - 0.1)
        assert math.log(following["multiplier"]) == pytest.approx(want, rel=1e-5)


def test_the_multiplier_is_kept_in_a_checkpoint(base: Path, tmp_path: Path) -> None:
    how = settings(cost=COST, cost_limit=-1.0)
    source = constrained(base, how, tmp_path)
    source.batch(0)
    saved = source.tensors()
    assert set(saved) == {"beta", "log_value"}
    assert float(saved["log_value"]) > 0
    other = constrained(base, how, tmp_path / "other")
    other.restore(saved)
    assert other.tensors() == saved
    assert source.digest() != online(base, settings(), tmp_path, by_length)[1].digest()


def test_a_sample_without_a_cost_is_left_out(base: Path, tmp_path: Path) -> None:
    def partly(row: Exchange) -> float:
        return math.nan if row.id.endswith("/1") else 1.0

    source = constrained(base, settings(cost=COST, beta=0), tmp_path, partly)
    batch = source.batch(0)
    objective: Any = batch.objective
    assert batch.values["costs"] == 9
    for group in batch.groups:
        parts = objective.learned.keep[group.key].split([len(completion) for completion in group.completions])
        assert [bool(part.all()) for part in parts] == [True, False, True, True]


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_a_limit_is_kept_that_the_reward_alone_would_break(name: str, base: Path, tmp_path: Path) -> None:
    """Reward and cost are the same number, so that without its limit the reward would rise."""
    shared: dict[str, Any] = {"batch_size": 6, "samples": 8, "sample_tokens": 16, "lora": None, "epochs": 20}
    shared |= {"learning_rate": 3e-3, "beta": 0, "cost": COST, "cost_limit": 0.01, "multiplier_rate": 1.0}
    shared |= {"multiplier": 3.0, "update_epochs": 2, "reward": [{"function": "rolling:early_letters"}]}
    reward, cost = reward_from(early_letters), reward_from(early_letters)
    if name == "grpo":
        train_grpo(str(base), PROMPTS, settings(advantage_scale="none", **shared), tmp_path, reward, cost)
    else:
        train_ppo(str(base), PROMPTS, PpoSettings.model_validate(shared), tmp_path, reward, cost)
    rows = [row for row in metrics(tmp_path) if "cost" in row]
    assert rows[0]["cost"] > 0.02
    assert sum(row["cost"] for row in rows[-3:]) < 0.6 * sum(row["cost"] for row in rows[:3])
    assert rows[1]["multiplier"] > rows[0]["multiplier"]


def test_a_cost_model_costs_what_its_reward_lacks(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "cost")
    new_head(32, 1, 0, "cost", bias=True).save(folder)
    asked = Exchange("e", PROMPTS[0].prompt, "Yes")
    part = RewardPart(model=str(folder), weight=2.0)
    (cost,), (reward,) = cost_of([part]).reward([asked]), reward_of([part]).reward([asked])
    assert cost.reward == -(reward.reward or 0) != 0
    other = RewardPart(function="rolling:by_length", weight=2.0)
    assert cost_of([other]).reward([asked])[0].reward == 6
    how = settings(cost=[{"model": str(folder)}])
    assert [one.model for one in aims_of(how)] == [None, str(folder)]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cost_limit": 1.0}, "cost_limit does nothing without a cost"),
        ({"cost": []}, "at least 1 item"),
        ({"cost": COST, "multiplier_max": 0.5}, "multiplier_max must not be below"),
    ],
)
def test_options_that_would_do_nothing_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(**wrong)


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_a_run_cut_off_between_checkpoints_ends_with_the_same_weights(name: str, base: Path, tmp_path: Path) -> None:
    """Policy, critic, both optimisers, KL weight and multiplier go on bit by bit; `test_resume.py` kills for it."""
    shared: dict[str, Any] = {"batch_size": 3, "samples": 3, "sample_tokens": 6, "epochs": 2, "save_every": 7}
    shared |= {"mini_batches": 2, "update_epochs": 2, "beta": 0.1, "kl_in": "reward", "kl_target": 0.01}
    shared |= {"kl_horizon": 30, "cost": COST, "cost_limit": 0.01, "learning_rate": 1e-2, "seed": 3}
    shared |= {"lora": {"r": 4, "dropout": 0.2}, "reward": [{"function": "rolling:by_length"}]}
    how: Any = settings(**shared)
    if name == "ppo":
        how = PpoSettings.model_validate({**shared, "critic_learning_rate": 2e-2})
    run: Any = train_ppo if name == "ppo" else train_grpo
    scored = 0

    def cut_off(row: Exchange) -> float:
        nonlocal scored
        scored += 1
        if scored > 3 * 9:  # in the fourth rollout, four updates after the checkpoint
            raise KeyboardInterrupt
        return by_length(row)

    cut_off.__name__ = "by_length"
    torch.set_num_threads(1)
    cost = reward_from(early_letters)
    with pytest.raises(KeyboardInterrupt):
        run(str(base), PROMPTS, how, tmp_path / "cut", reward_from(cut_off), cost)
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-00000008"]
    weights = []
    for folder in (tmp_path / "cut", tmp_path / "whole"):
        done = run(str(base), PROMPTS, how, folder, reward_from(by_length), cost)
        weights.append(load_file(done.model / "adapter_model.safetensors"))
    assert all(torch.equal(weights[0][key], value) for key, value in weights[1].items())
    timed = ("seconds", "tokens_per_second")
    seen = [
        [{k: v for k, v in row.items() if not k.startswith(timed)} for row in metrics(one)]
        for one in (tmp_path / "cut", tmp_path / "whole")
    ]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 16
    assert len({row["beta"] for row in seen[0] if "beta" in row}) == 4
    states = [load_file(next((tmp_path / one / "checkpoints").glob("*/*.safetensors"))) for one in ("cut", "whole")]
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())
    assert {"source.beta", "source.log_value"} < set(states[0])
    assert any(key.startswith("critic.") for key in states[0]) == (name == "ppo")
