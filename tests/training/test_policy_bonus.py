"""Entropy bonus and overlong filtering: losses written out by hand, and what a run does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, by_length, reward_from
from tiny import metrics, tiny_folder

from charter.models.lora import LoraSettings
from charter.training.experience import experience
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods.grpo import GrpoSettings, train_grpo
from charter.training.methods.ppo import PpoSettings, train_ppo
from charter.training.methods.reinforce_pp import ReinforcePpSettings, train_reinforce_pp
from charter.training.objective import Tally
from charter.training.policy import trainable_policy
from charter.training.rollouts import Rollout, Sample
from charter.training.surrogate import Learned, PolicyObjective, Surrogate, averaging_of

TRAIN: dict[str, Any] = {
    "grpo": (GrpoSettings, train_grpo),
    "ppo": (PpoSettings, train_ppo),
    "reinforce_pp": (ReinforcePpSettings, train_reinforce_pp),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model")


def settings(name: str, **values: Any) -> Any:
    how = {"batch_size": 6, "sample_tokens": 12, "samples": 4, "learning_rate": 3e-3, "lora": None, **values}
    return TRAIN[name][0].model_validate({"reward": [{"function": "rolling:by_length"}], **how})


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}])
@pytest.mark.parametrize("aggregation", ["grpo", "dapo"])
def test_the_bonus_is_the_weighted_entropy_and_so_is_its_gradient(base: Path, lora: Any, aggregation: Any) -> None:
    policy = trainable_policy(str(base), lora and LoraSettings(**lora), 0)
    model: Any = policy.model.float()
    group = Group("a", (5, 6, 7), ((8, 9, 10, 11), (12, 13)))
    keep = torch.tensor([True, True, True, False, True, True])
    learned = Learned({"a": torch.zeros(6)}, {"a": keep})
    objective = PolicyObjective(Surrogate(averaging_of(aggregation, 12), entropy_weight=0.3), learned)
    trained = [p for p in model.parameters() if p.requires_grad]
    tally = Tally()
    ours = objective.row_loss(CompletionLogprobs(model), Row([group]), tally)
    gradient = torch.autograd.grad(ours, trained, allow_unused=True)

    entropies = []
    for completion in group.completions:
        logits = model(torch.tensor([group.prompt + completion])).logits[0, 2 : 2 + len(completion)].float()
        entropies.append(torch.distributions.Categorical(logits=logits).entropy())
    kept = [entropies[0][:3], entropies[1]]
    mean = torch.stack([one.mean() for one in kept]).sum() if aggregation == "grpo" else torch.cat(kept).sum()
    torch.testing.assert_close(ours, -0.3 * mean, atol=1e-5, rtol=1e-5)
    theirs = torch.autograd.grad(-0.3 * mean, trained, allow_unused=True)
    torch.testing.assert_close(
        [g for g in gradient if g is not None], [g for g in theirs if g is not None], atol=1e-5, rtol=1e-3
    )
    assert tally.means()["entropy"] == pytest.approx(float(torch.cat(kept).detach().mean()))


@pytest.mark.parametrize("name", TRAIN)
def test_a_bonus_keeps_a_policy_from_making_up_its_mind(name: str, base: Path, tmp_path: Path) -> None:
    def last_entropy(bonus: float) -> float:
        # All rewards alike: nothing but the bonus teaches the policy.
        how = settings(name, beta=0, entropy_bonus=bonus, epochs=12)
        TRAIN[name][1](str(base), PROMPTS, how, tmp_path / str(bonus), reward_from(lambda _: 1.0))
        found: float = [row["entropy"] for row in metrics(tmp_path / str(bonus)) if "entropy" in row][-1]
        return found

    assert last_entropy(1.0) > last_entropy(1e-9) + 0.003


def test_cut_completions_are_in_the_advantages_but_not_in_what_is_learned() -> None:
    ends = Sample("a", (1, 2), (-1.0, -1.0), True, 1.0)
    cut = Sample("b", (3, 4, 5), (-1.0,) * 3, False, 0.0)
    rollouts = [Rollout("x", (9,), (ends, cut))]
    assert experience(rollouts).keep_N.tolist() == [True] * 5
    found = experience(rollouts, drop_cut=True)
    assert found.keep_N.tolist() == [True, True, False, False, False]
    assert found.scores_C.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", TRAIN)
def test_what_is_cut_is_not_learned_from(name: str, base: Path, tmp_path: Path) -> None:
    # Of two tokens hardly any completion is whole; those that are, are the only ones learned from.
    how = settings(name, drop_cut=True, sample_tokens=2, beta=0)
    TRAIN[name][1](str(base), PROMPTS, how, tmp_path, reward_from(by_length))
    (row, *_) = metrics(tmp_path)
    assert row["finished"] < 0.2
    assert ("loss" in row) == (row["finished"] > 0)
