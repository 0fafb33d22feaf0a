"""PPO with a critic: its losses against TRL's, its critic's start, what it learns, and the failures that others had."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, early_letters, reward_from
from safetensors.torch import load_file
from test_policy_gradients import frozen_experience
from test_rl_oracles import GAMMA, LAM
from tiny import metrics, tiny_folder
from torch import Tensor

from charter.errors import UserError
from charter.models.lora import LoraSettings
from charter.models.reward_head import RewardHead
from charter.records import Exchange, Preference, user_prompt
from charter.training.critic import ActorCritic, TokenValues, completion_values, value_head
from charter.training.layout import Group, Row
from charter.training.methods.ppo import PpoObjective, PpoSettings, actor_critic, estimated, method_of, train_ppo
from charter.training.methods.reward import RewardSettings, train_reward
from charter.training.objective import Tally
from charter.training.policy import trainable_policy
from charter.training.reward_model import RewardModel
from charter.training.surrogate import Learned, PolicyObjective

ORACLES = Path(__file__).parent / "oracles"
EXACT = {"atol": 1e-5, "rtol": 1e-5}


def settings(**values: Any) -> PpoSettings:
    how = {"batch_size": 3, "sample_tokens": 12, "samples": 2, "lora": {"r": 4, "alpha": 8}, **values}
    return PpoSettings.model_validate({"reward": [{"function": "rolling:by_length"}], **how})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model", max_position_embeddings=256)


@pytest.fixture(scope="module")
def frozen() -> dict[str, Tensor]:
    return load_file(ORACLES / "rl.safetensors") | load_file(ORACLES / "ppo.safetensors")


def test_a_steps_losses_and_gradients_are_trls(frozen: dict[str, Tensor]) -> None:
    how = settings(value_clip=0.3)
    found = frozen_experience(frozen, frozen["scores_C"])
    learned = Learned(found.by_key(frozen["advantages_N"]), found.by_key(found.keep_N), found.by_key(frozen["old_N"]))
    objective = PpoObjective(
        PolicyObjective(method_of(how).surrogate, learned),
        found.by_key(frozen["values_N"]),
        found.by_key(frozen["returns_N"]),
        how.value_clip,
        1.0,
    )
    weight = sum(objective.weight(group) for group in found.groups)
    row = Row(found.groups)
    policy_N, values_N = (frozen[name].clone().requires_grad_() for name in ("logp_N", "fresh_N"))
    of_policy = objective.policy.loss(policy_N, row, Tally()) / weight
    of_critic = objective.critic_loss(values_N, row, Tally()) / weight
    for loss, leaf, name in ((of_policy, policy_N, "trl.policy"), (of_critic, values_N, "trl.value")):
        loss.backward()
        torch.testing.assert_close(loss[None], frozen[f"{name}.loss"], **EXACT)
        torch.testing.assert_close(leaf.grad, frozen[f"{name}.gradient_N"], **EXACT)


def test_advantages_come_from_scores_at_the_last_token_and_the_kl_everywhere(frozen: dict[str, Tensor]) -> None:
    """By the recursion as it is written, over each completion alone: there is no padding to put a reward at."""
    how = settings(gamma=GAMMA, lam=LAM, whiten_advantages=False)
    scores_C = frozen["scores_C"].clone()
    scores_C[3] = math.nan
    found = replace(frozen_experience(frozen, scores_C), values_N=frozen["values_N"])
    advantages_N, returns_N = estimated(how, found, 0.2)
    sizes = frozen["lengths_C"].tolist()
    kl_N = frozen["old_N"] - frozen["reference_N"]
    parts = zip(kl_N.split(sizes), frozen["values_N"].split(sizes), scores_C.tolist(), strict=True)
    theirs: list[float] = []
    for kl, values, score in parts:
        rewards = (-0.2 * kl).tolist()
        rewards[-1] += score
        following = carried = 0.0
        own = []
        for reward, value in zip(reversed(rewards), reversed(values.tolist()), strict=True):
            carried = reward + GAMMA * following - value + GAMMA * LAM * carried
            own.append(0.0 if math.isnan(score) else carried)
            following = value
        theirs += reversed(own)
    torch.testing.assert_close(advantages_N, torch.tensor(theirs), **EXACT)
    keep_N = found.keep_N
    torch.testing.assert_close(returns_N[keep_N], (advantages_N + frozen["values_N"])[keep_N], **EXACT)
    white_N, _ = estimated(settings(gamma=GAMMA, lam=LAM), found, 0.2)
    assert float(white_N[keep_N].mean()) == pytest.approx(0, abs=1e-5)
    assert float(white_N[keep_N].std()) == pytest.approx(1, abs=1e-4)
    assert not white_N[~keep_N].any()


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_values_are_read_before_their_token_and_do_not_see_it(base: Path, critic: str) -> None:
    how = settings(critic=critic)
    policy = trainable_policy(str(base), how.lora, 0)
    policy.model.float()
    actor, _ = actor_critic(how, str(base), policy)
    actor.float()
    head = actor.critic.head if isinstance(actor.critic, TokenValues) else actor.critic
    with torch.no_grad():
        head.weight.normal_()
    first, other = (Group("a", (5, 6, 7), ((8, 9, 10), (11, last))) for last in (12, 13))
    # The last token may be any: no value is read after it.
    torch.testing.assert_close(*(completion_values(actor, [one], 99) for one in (first, other)))
    whole = Group("b", (5, 6, 7), ((8, 9, 10, 11),))
    values_N = completion_values(actor, [first, whole], 8)
    torch.testing.assert_close(values_N[:3], values_N[5:8], atol=1e-5, rtol=1e-5)
    assert float(values_N[0]) == pytest.approx(float(values_N[3]), abs=1e-6)
    body: Any = actor.critic._body if isinstance(actor.critic, TokenValues) else actor._body
    hidden = body(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).last_hidden_state[0, 2:]
    torch.testing.assert_close(values_N[:3], head(hidden)[:, 0], atol=1e-4, rtol=1e-4)


def test_the_critic_starts_as_the_reward_model_in_its_units_and_sign(base: Path, tmp_path: Path) -> None:
    pairs = [Preference(f"p{i}", user_prompt(f"Say {i}."), f"Yes, {i}.", f"No {i}") for i in range(6)]
    how = RewardSettings.model_validate({"lora": {"r": 4}, "heads": 3, "epochs": 2, "learning_rate": 1e-2})
    folder = train_reward(str(base), pairs, how, tmp_path / "rm").model
    ppo_settings = settings(reward=[{"function": "rolling:by_length"}, {"model": str(folder), "weight": -2.0}])
    policy = trainable_policy(str(base), LoraSettings(r=4), 0)
    actor, digest = actor_critic(ppo_settings, str(base), policy)
    assert digest
    prompt = policy.format.prompt_ids(pairs[0].prompt)
    completion = policy.format.completion_ids(pairs[0].prompt, "Yes.")
    # The value of one more token is read at the completion's last one, where the reward is.
    values_N = completion_values(actor, [Group("g", prompt, ((*completion, 5),))], 99)
    (rewarded,) = RewardModel(str(folder)).reward([Exchange("e", pairs[0].prompt, "Yes.")])
    assert float(values_N[-1]) == pytest.approx(-2 * float(rewarded.reward or 0), rel=0.02, abs=1e-3)
    assert abs(float(values_N[-1])) > 1e-2


def test_heads_become_one_in_the_rewards_units() -> None:
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    hidden = torch.tensor([[0.5, -1.0]])
    for kind, sign in (("reward", 1), ("cost", -1)):
        head = RewardHead(weight, torch.tensor([0.5, 1.5]), kind, scale=2.0, shift=1.0)  # type: ignore[arg-type]
        want = sign * 3 * head.units(head(hidden)).mean()
        torch.testing.assert_close(value_head(head, 3.0)(hidden)[0, 0], want)
    with pytest.raises(UserError, match="cannot start a critic"):
        value_head(RewardHead(weight, None, "process"), 1.0)


def test_a_critic_with_other_tokens_is_refused(base: Path, tmp_path: Path) -> None:
    from tiny import byte_tokenizer

    other = tiny_folder(tmp_path / "other")
    byte_tokenizer(eos_token="<|im_end|>", unk_token="<odd>").save_pretrained(other)
    policy = trainable_policy(str(base), None, 0)
    with pytest.raises(UserError, match="whose tokens are not the policy's"):
        actor_critic(settings(critic_model=str(other)), str(base), policy)


def test_policy_and_critic_are_optimised_apart_unless_they_share_a_body(base: Path) -> None:
    for critic, rate, parts in (("separate", 1e-3, 2), ("shared", None, 1)):
        how = settings(critic=critic, critic_learning_rate=rate, learning_rate=5e-4)
        policy = trainable_policy(str(base), how.lora, 0)
        actor, _ = actor_critic(how, str(base), policy)
        found = actor.trained_parts()
        assert [name for name, _, _ in found] == ["", "critic."][:parts]
        assert found[-1][1] == (2 if parts == 2 else 1)
        every = [id(weight) for _, _, own in found for weight in own]
        assert len(set(every)) == len(every) == sum(p.requires_grad for p in actor.parameters())
        of_policy = {id(p) for p in policy.model.parameters() if p.requires_grad}
        assert of_policy <= {id(weight) for weight in found[0][2]}
        assert isinstance(actor, ActorCritic)


@pytest.mark.parametrize(
    "values",
    [
        {"critic_learning_rate": 5e-3},
        {"critic": "shared", "value_weight": 0.3},
        {"mini_batches": 2, "kl_target": 2.0, "kl_horizon": 500, "value_clip": None},
    ],
)
def test_a_reward_rises_and_the_critic_explains_it(values: dict[str, Any], base: Path, tmp_path: Path) -> None:
    how = settings(
        **{"batch_size": 6, "samples": 8, "sample_tokens": 16, "learning_rate": 2e-3, "lora": None, "beta": 0.01},
        **{"update_epochs": 2, "epochs": 24, **values},
    )
    train_ppo(str(base), PROMPTS, how, tmp_path, reward_from(early_letters))
    rows = [row for row in metrics(tmp_path) if "reward" in row]
    rewards = [row["reward"] for row in rows]
    assert sum(rewards[-3:]) > 1.5 * sum(rewards[:3])
    assert rows[0]["value"] == 0
    assert rows[-1]["value"] > 0.1
    assert all("value_loss" in row and "entropy" in row and "kl" in row for row in rows)
    assert max(row["logprob_gap_max"] for row in rows) < 0.1
    assert abs(rows[0]["kl"]) < 0.01


def test_the_critic_learns_where_the_policy_has_nothing_to(base: Path, tmp_path: Path) -> None:
    how = settings(lora=None, beta=0, epochs=6, critic_learning_rate=1e-2, learning_rate=1e-3)
    train_ppo(str(base), PROMPTS, how, tmp_path, reward_from(lambda _: 1.0))
    rows = [row for row in metrics(tmp_path) if "return" in row]
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert abs(1 - rows[-1]["value"]) < 0.5 < abs(1 - rows[0]["value"])


def test_a_policy_that_never_ends_is_told_so_and_stays_finite(base: Path, tmp_path: Path) -> None:
    """No sample ends within two tokens: all get the score of what has no end, and nothing is NaN."""
    how = settings(sample_tokens=2, missing_eos_reward=-1.0, epochs=3, lora=None, learning_rate=1e-3)
    train_ppo(str(base), PROMPTS, how, tmp_path, reward_from(lambda _: 5.0))
    rows = metrics(tmp_path)
    unfinished = [row for row in rows if row.get("finished") == 0]
    assert unfinished
    assert all(row["reward"] == -1 for row in unfinished)
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) for row in rows)


def test_the_kl_does_not_run_away_below_zero_at_a_temperature(base: Path, tmp_path: Path) -> None:
    """Log-probs that are not those of sampling make k1 negative on average, and then it is paid for: here sampling,
    training and reference are at one temperature, and a policy that only the KL moves stays where it is."""
    how = settings(temperature=0.6, beta=0.5, batch_size=6, samples=8, epochs=10, learning_rate=1e-3, lora=None)
    train_ppo(str(base), PROMPTS, how, tmp_path, reward_from(lambda _: 0.0))
    rows = [row for row in metrics(tmp_path) if "kl" in row]
    assert abs(rows[0]["kl"]) < 0.01
    assert all(row["kl"] > -0.3 for row in rows)
    assert all(row["kl_k3"] < 2 for row in rows)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"critic": "shared", "critic_learning_rate": 1e-3}, "critic_learning_rate does nothing with a shared"),
        ({"critic": "shared", "critic_model": "x"}, "critic_model does nothing with a shared"),
        ({"value_weight": 0.5}, "value_weight does nothing with a separate"),
        ({"update_epochs": 1, "value_clip": 0.3}, "value_clip does nothing with one update"),
        ({"lam": 1.5}, "less than or equal to 1"),
    ],
)
def test_options_that_would_do_nothing_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(**wrong)
