"""GRPO, RLOO and REINFORCE++ as methods: whole steps against TRL and the formula, what they learn and leave out."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, early_letters, reward_from
from safetensors.torch import load_file
from tiny import metrics, tiny_folder
from torch import Tensor

from charter.models.loading import load_model
from charter.records import Exchange
from charter.training.experience import Experience
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import is_kept, train_on
from charter.training.methods import grpo, reinforce_pp, rloo
from charter.training.methods.policy_gradient import PolicyUpdates, importance_of, part_of
from charter.training.objective import Tally
from charter.training.policy import Policy, trainable_policy
from charter.training.policy_settings import PolicyGradientSettings
from charter.training.reference import StartWeights
from charter.training.rollouts import Rollouts, usable_prompts
from charter.training.surrogate import Learned, PolicyObjective

ORACLES = Path(__file__).parent / "oracles"
METHODS: dict[str, Any] = {"grpo": grpo, "rloo": rloo, "reinforce_pp": reinforce_pp}
TRAIN: dict[str, Any] = {
    "grpo": grpo.train_grpo,
    "rloo": rloo.train_rloo,
    "reinforce_pp": reinforce_pp.train_reinforce_pp,
}
EXACT = {"atol": 1e-5, "rtol": 1e-5}
SIZE = 4


def settings(name: str = "grpo", **values: Any) -> Any:
    how = {"batch_size": 3, "sample_tokens": 12, "samples": 4, "lora": {"r": 4, "alpha": 8}, **values}
    kind = METHODS[name].METHOD.settings
    return kind.model_validate({"reward": [{"function": "rolling:by_length"}], **how})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model", max_position_embeddings=256)


@pytest.fixture(scope="module")
def rl() -> dict[str, Tensor]:
    return load_file(ORACLES / "rl.safetensors") | load_file(ORACLES / "ppo.safetensors")


def groups_of_sizes(lengths_C: Tensor) -> tuple[Group, ...]:
    parts = lengths_C.view(-1, SIZE).tolist()
    return tuple(Group(f"g{i}", (1, 2, 3), tuple((5,) * n for n in own)) for i, own in enumerate(parts))


def frozen_experience(rl: dict[str, Tensor], scores_C: Tensor) -> Experience:
    return Experience(groups_of_sizes(rl["lengths_C"]), scores_C, rl["sampled_N"], rl["old_N"], rl["reference_N"])


@pytest.mark.parametrize(
    ("oracle", "name", "values"),
    [
        ("grpo", "grpo", {"beta": 0}),
        ("grpo_kl", "grpo", {"beta": 0.3}),
        ("dapo", "grpo", {"beta": 0, "aggregation": "dapo", "clip_high": 0.28}),
        ("dr_grpo", "grpo", {"beta": 0, "aggregation": "dr_grpo"}),
        ("two_sided", "grpo", {"beta": 0, "dual_clip": 1.5}),
        ("gspo", "grpo", {"beta": 0, "ratio": "sequence", "clip_high": 0.1}),
        ("rloo", "rloo", {}),
        ("token_truncate", "grpo", {"beta": 0, "importance": "token_truncate", "importance_cap": 1.2}),
        ("token_mask", "grpo", {"beta": 0, "importance": "token_mask", "importance_cap": 1.2, "importance_floor": 0.6}),
        ("sequence_truncate", "grpo", {"beta": 0, "importance": "sequence_truncate", "importance_cap": 1.2}),
        (
            "sequence_mask",
            "grpo",
            {"beta": 0, "importance": "sequence_mask", "importance_cap": 1.2, "importance_floor": 0.6},
        ),
    ],
)
def test_a_steps_loss_and_gradient_are_trls(
    oracle: str, name: str, values: dict[str, Any], rl: dict[str, Tensor]
) -> None:
    # TRL's constant length in the frozen case is 12, which is sample_tokens here.
    how = settings(name, update_epochs=2, **values)
    found = frozen_experience(rl, rl["scores_C"])
    learned = Learned(
        found.by_key(found.completions.spread(rl["advantages_C"])),
        found.by_key(found.keep_N),
        found.by_key(found.old_N),
        found.by_key(found.reference_N),
        importance=found.by_key(importance_of(found, how)),
    )
    objective = PolicyObjective(METHODS[name].method_of(how).surrogate, learned)
    logp_N = rl["logp_N"].clone().requires_grad_()
    weight = sum(objective.weight(group) for group in found.groups)
    # In two rows, as two forward passes would have it.
    rows = [Row(found.groups[:1]), Row(found.groups[1:])]
    split = logp_N.split([len(row.target_N) for row in rows])
    total = sum(objective.loss(part, row, Tally()) for part, row in zip(split, rows, strict=True)) / weight
    total.backward()
    torch.testing.assert_close(total[None], rl[f"{oracle}.loss"], **EXACT)
    torch.testing.assert_close(logp_N.grad, rl[f"{oracle}.gradient_N"], **EXACT)


@pytest.mark.parametrize(
    ("oracle", "name", "values"),
    [
        ("group", "grpo", {}),
        ("batch", "grpo", {"advantage_scale": "batch"}),
        ("centred", "grpo", {"advantage_scale": "none"}),
        ("rloo", "rloo", {}),
    ],
)
def test_advantages_with_unscored_samples_are_trls(
    oracle: str, name: str, values: dict[str, Any], rl: dict[str, Tensor]
) -> None:
    found = frozen_experience(rl, rl["rewards_C"])
    advantages_N = METHODS[name].method_of(settings(name, **values)).advantages(found, 0.0)
    torch.testing.assert_close(advantages_N, found.completions.spread(rl[f"advantages.{oracle}_C"]), **EXACT)
    assert not advantages_N[~found.keep_N].any()


def test_reinforce_pps_advantages_are_openrlhfs(rl: dict[str, Tensor]) -> None:
    from test_rl_oracles import BETA, GAMMA

    found = frozen_experience(rl, rl["scores_C"])
    advantages_N = reinforce_pp.advantages_of(settings("reinforce_pp", gamma=GAMMA), found, BETA)
    torch.testing.assert_close(advantages_N, rl["openrlhf.reinforce_N"], **EXACT)


def online(
    base: Path, how: PolicyGradientSettings, folder: Path, reward: Any = early_letters
) -> tuple[Policy, PolicyUpdates]:
    policy = trainable_policy(str(base), how.lora, how.seed)
    policy.model.float()  # where bf16 is native, it would be that
    usable, _ = usable_prompts(policy, PROMPTS, how, "test")
    logprobs = CompletionLogprobs(policy.model, temperature=how.temperature)
    start = StartWeights(policy.model) if how.beta else None
    method = METHODS[how.method].method_of(how)  # type: ignore[attr-defined]
    rollouts = Rollouts(policy, usable, reward_from(reward), how, folder)
    return policy, PolicyUpdates(rollouts, logprobs, start, how, method)


def tempered(model: Any, group: Group, temperature: float) -> list[Tensor]:
    """Log-probs of each completion's tokens under softmax(logits / temperature), each in a forward of its own."""
    found = []
    for completion in group.completions:
        logits = model(input_ids=torch.tensor([group.prompt + completion])).logits[0].float() / temperature
        start = len(group.prompt) - 1
        logp = logits[start : start + len(completion)].log_softmax(-1)
        found.append(logp[range(len(completion)), completion])
    return found


@pytest.mark.parametrize("several", [False, True])
def test_a_whole_step_is_the_formula_on_the_models_own_logits(base: Path, tmp_path: Path, several: bool) -> None:
    """GRPO with its KL at a temperature, rewards included: nothing of ours but the samples and the weights."""
    how = settings(temperature=0.7, beta=0.3, epsilon=1e-3, batch_size=6, update_epochs=1 + several)
    policy, source = online(base, how, tmp_path)
    drawn = torch.Generator().manual_seed(4)
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    with torch.no_grad():
        for weight in trained:
            weight.add_(torch.randn(weight.shape, generator=drawn) * 0.05)
    batch = source.batch(0)
    groups = list(batch.groups)
    with torch.no_grad():
        old = {group.key: [logp.clone() for logp in tempered(policy.model, group, 0.7)] for group in groups}
        if several:
            for weight in trained:
                weight.add_(torch.randn(weight.shape, generator=drawn) * 0.02)
            batch = source.batch(1)
    objective: Any = batch.objective
    ours = objective.row_loss(source.logprobs, Row(groups), tally := Tally())
    ours = ours / sum(objective.weight(group) for group in groups)
    gradient = torch.autograd.grad(ours, trained)

    untouched: Any = load_model(str(base)).model.float()
    text = policy.format.tokenizer
    losses = []
    for group in groups:
        end = policy.format.end_of_turn
        said = [
            text.decode([t for t in ids if t != end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for ids in group.completions
        ]
        rewards = torch.tensor([early_letters(Exchange("", (), one)) for one in said])
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-3)
        with torch.no_grad():
            reference = tempered(untouched, group, 0.7)
        for place, logp in enumerate(tempered(policy.model, group, 0.7)):
            ratio = (logp - old[group.key][place]).exp()
            kept = torch.minimum(ratio * advantages[place], ratio.clamp(0.8, 1.2) * advantages[place])
            apart = reference[place] - logp
            losses.append((-kept + 0.3 * (apart.exp() - 1 - apart)).mean())
    theirs = torch.stack(losses).mean()
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, trained), atol=1e-4, rtol=1e-3)
    assert (tally.means().get("kl_old", 0.0) > 1e-4) == several
    assert tally.means()["entropy"] > 1
    gap = batch.values if several else tally.means()
    assert several or gap["logprob_gap"] < 1e-5


LEARNS: list[tuple[str, dict[str, Any]]] = [
    ("grpo", {"mini_batches": 2, "update_epochs": 2}),
    ("grpo", {"aggregation": "dapo", "clip_high": 0.28, "advantage_scale": "none", "beta": 0, "update_epochs": 2}),
    ("grpo", {"aggregation": "dr_grpo", "ratio": "sequence", "kl_in": "reward", "update_epochs": 2}),
    ("rloo", {"beta": 0.01}),
    ("rloo", {"beta": 0.01, "update_epochs": 2}),
    ("reinforce_pp", {}),
    ("reinforce_pp", {"baseline": "group", "importance": "token_truncate"}),
]


@pytest.mark.parametrize(("name", "values"), LEARNS)
def test_a_reward_rises(name: str, values: dict[str, Any], base: Path, tmp_path: Path) -> None:
    # All weights: under a frozen random head an adapter can hardly raise any token.
    updates = values.get("mini_batches", 1) * values.get("update_epochs", 1)
    shared = {"batch_size": 6, "samples": 8, "sample_tokens": 16, "learning_rate": 5e-3 if updates == 1 else 3e-3}
    how = settings(name, **shared, epochs=40 // updates, lora=None, **values)
    done = TRAIN[name](str(base), PROMPTS, how, tmp_path, reward_from(early_letters))
    rows = metrics(tmp_path)
    assert done.result.steps == 40 // updates * updates == len(rows)
    rewards = [row["reward"] for row in rows if "reward" in row]
    assert len(rewards) == 40 // updates
    assert sum(rewards[-3:]) > 1.6 * sum(rewards[:3])
    assert max(row.get("logprob_gap_max", 0) for row in rows) < 0.1
    assert all(row["entropy"] > 0 for row in rows)
    assert ("kl" in rows[0]) == (how.beta > 0)
    assert ("clipped" in rows[0]) == (updates > 1)


@pytest.mark.parametrize("name", METHODS)
def test_equal_rewards_teach_nothing_and_are_no_nan(name: str, base: Path, tmp_path: Path) -> None:
    how = settings(name, lora=None, learning_rate=1e-2, weight_decay=0.5, epochs=2, beta=0)
    TRAIN[name](str(base), PROMPTS, how, tmp_path, reward_from(lambda _: 1.0))
    rows = metrics(tmp_path)
    assert all(row["zero_advantage"] == 1 and "loss" not in row for row in rows)
    before, after = (load_file(where / "model.safetensors") for where in (base, tmp_path / "model"))
    assert all(torch.equal(before[key].to(value.dtype), value) for key, value in after.items())


@pytest.mark.parametrize("name", METHODS)
def test_unscored_samples_are_left_out_of_everything(name: str, base: Path, tmp_path: Path) -> None:
    def partly(row: Exchange) -> float:
        prompt, _, number = row.id.rpartition("/")
        return math.nan if prompt == "p2" or int(number) % 2 else early_letters(row)

    how = settings(name, batch_size=6, update_epochs=2, beta=0)
    policy, source = online(base, how, tmp_path, partly)
    batch = source.batch(0)
    objective: Any = batch.objective
    assert {group.key for group in batch.groups} == {one.id for one in PROMPTS} - {"p2"}
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    logp_N = source.logprobs(Row(batch.groups)).detach().requires_grad_()
    objective.loss(logp_N, Row(batch.groups), Tally()).backward()
    parts = logp_N.grad.split([len(ids) for group in batch.groups for ids in group.completions])
    moved = [bool(part.any()) for part in parts]
    assert not any(moved[1::2])
    assert any(moved[::2])
    train_on(source, source.logprobs, how, tmp_path, title="test")
    assert all(math.isfinite(float(p.sum())) for p in trained)
    assert metrics(tmp_path)[0]["unscored"] == 6 * 2 + 2


def test_a_missing_end_is_penalised_or_replaced_scored_or_not(base: Path, tmp_path: Path) -> None:
    def partly(row: Exchange) -> float:
        return math.nan if row.id.endswith("/0") else 5.0

    how = settings(samples=24, sample_tokens=40, batch_size=6, missing_eos_reward=-1.0, beta=0)
    _, source = online(base, how, tmp_path, partly)
    rollouts, values = source._rollouts.draw(0)
    assert 0.02 < values["finished"] < 0.98
    for rollout in rollouts:
        for place, one in enumerate(rollout.samples):
            assert one.reward == (-1.0 if not one.finished else None if place == 0 else 5.0)


def test_mini_batches_cover_every_prompt_once_a_pass_in_new_orders() -> None:
    groups = groups_of_sizes(torch.ones(5 * SIZE, dtype=torch.long))
    how = settings(batch_size=5, mini_batches=2, update_epochs=3)
    orders = []
    for epoch in range(3):
        parts = [part_of(groups, how, 7, 2 * epoch + place) for place in (0, 1)]
        orders.append([group.key for part in parts for group in part])
        assert sorted(orders[-1]) == [f"g{i}" for i in range(5)]
        assert [len(part) for part in parts] == [3, 2]
    assert len({tuple(order) for order in orders}) > 1


def test_the_kl_weight_follows_its_target_and_is_what_the_next_rollout_pays(base: Path, tmp_path: Path) -> None:
    how = settings("rloo", beta=0.1, kl_target=1e-3, kl_horizon=20, epochs=4, learning_rate=2e-2, update_epochs=2)
    _, source = online(base, how, tmp_path)
    train_on(source, source.logprobs, how, tmp_path, title="test")
    rows = [row for row in metrics(tmp_path) if "beta" in row]
    assert len(rows) == 8
    for row, following in pairwise(rows):
        error = min(max(row["kl"] / 1e-3 - 1, -0.2), 0.2)
        assert following["beta"] == pytest.approx(row["beta"] * (1 + error * 12 / 20), rel=1e-9)
    saved = source.tensors()
    other = online(base, how, tmp_path / "other")[1]
    other.restore(saved)
    assert other.tensors() == saved


def test_a_step_inside_a_rollout_that_was_not_drawn_is_refused(base: Path, tmp_path: Path) -> None:
    _, source = online(base, settings(update_epochs=2), tmp_path)
    with pytest.raises(ValueError, match="inside the updates"):
        source.batch(1)


def test_experience_is_put_together_by_key(rl: dict[str, Tensor]) -> None:
    found = frozen_experience(rl, rl["scores_C"])
    parts = found.by_key(rl["logp_N"])
    assert torch.equal(torch.cat([parts[group.key] for group in found.groups]), rl["logp_N"])
    with pytest.raises(ValueError, match="without a reference"):
        replace(found, reference_N=None).kl_N()


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("grpo", {"clip_low": 0.1}, "clip_low does nothing with one update"),
        ("grpo", {"ratio": "sequence"}, "ratio does nothing with one update"),
        ("grpo", {"beta": 0, "kl_in": "reward"}, "kl_in does nothing with beta 0"),
        ("grpo", {"importance_cap": 3}, "importance_cap does nothing"),
        ("grpo", {"importance": "token_truncate", "importance_floor": 0.1}, "importance_floor does nothing"),
        ("grpo", {"update_epochs": 2, "dual_clip": 1.1}, "above 1 \\+ clip_high"),
        ("grpo", {"advantage_scale": "none", "epsilon": 1e-6}, "epsilon does nothing"),
        ("grpo", {"kl_target": 1, "kl_horizon": 100}, "kl_in: reward"),
        ("rloo", {"kl_target": 1}, "need each other"),
        ("rloo", {"kl_target": 1, "kl_horizon": 2}, "above a fifth"),
        ("grpo", {"mini_batches": 9}, "must not be above batch_size"),
        ("grpo", {"samples": 1}, "greater than or equal to 2"),
        ("reinforce_pp", {"samples": 1, "baseline": "group"}, "at least 2"),
        ("grpo", {"missing_eos_penalty": 1, "missing_eos_reward": -1}, "missing_eos_penalty does nothing"),
    ],
)
def test_options_that_would_do_nothing_are_refused(name: str, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(name, **wrong)


@pytest.mark.parametrize(
    ("updates", "every", "want"),
    [(1, 3, [3, 6, 8]), (4, 3, [4, 8]), (2, 5, [6, 8]), (2, 2, [2, 4, 6, 8]), (4, 25, [8])],
)
def test_checkpoints_stand_between_rollouts(updates: int, every: int, want: list[int]) -> None:
    how = settings(update_epochs=updates, save_every=every)
    assert [done for done in range(1, 9) if is_kept(done, 8, how)] == want
