"""Reward, cost and pointwise methods on a real (tiny) model folder: what is learned, read, refused, gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tiny import exchanges, groups_of, metrics, preferences, tiny_folder

from charter.errors import UserError
from charter.models.lora import LoraSettings
from charter.models.reward_head import WEIGHTS, find_head, new_head
from charter.records import Exchange, Preference, Scored, user_prompt
from charter.training.bootstrap import bootstrap_counts
from charter.training.layout import Row
from charter.training.methods.cost import CostSettings, train_cost
from charter.training.methods.reward import RewardSettings, train_reward
from charter.training.methods.reward_pointwise import PointwiseObjective, PointwiseSettings, train_reward_pointwise
from charter.training.objective import Tally
from charter.training.reward_model import RewardModel

LORA = LoraSettings(r=4, alpha=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model")


@pytest.mark.parametrize("lora", [None, LORA])
def test_training_learns_the_preference_and_the_folder_says_so(
    folder: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    how = RewardSettings(epochs=8, batch_size=4, learning_rate=1e-2, lora=lora)
    done = train_reward(str(folder), preferences(), how, tmp_path)
    seen = metrics(tmp_path)
    assert seen[-1]["accuracy"] == 1.0
    assert seen[-1]["loss"] < 0.5 * seen[0]["loss"]
    scored = [row.reward for row in RewardModel(str(done.model)).reward(exchanges(preferences()))]
    assert all(a > b for a, b in zip(scored[0::2], scored[1::2], strict=True) if a is not None and b is not None)
    assert not torch.equal(load_file(done.model / WEIGHTS)["weight"], new_head(32, 1, 0, "reward", bias=False).weight)


def test_a_changed_margin_is_another_run(folder: Path, tmp_path: Path) -> None:
    how = RewardSettings(lora=LORA, margin="given")
    train_reward(str(folder), preferences(margin=1.0), how, tmp_path)
    with pytest.raises(UserError, match="made with other data or settings"):
        train_reward(str(folder), preferences(margin=2.0), how, tmp_path)


def test_training_goes_on_from_a_reward_model(folder: Path, tmp_path: Path) -> None:
    how = RewardSettings(epochs=6, batch_size=4, learning_rate=1e-2, lora=LORA)
    first = train_reward(str(folder), preferences(), how, tmp_path / "a")
    train_reward(str(first.model), preferences(), how, tmp_path / "b")
    assert metrics(tmp_path / "b")[0]["loss"] < 0.5
    with pytest.raises(UserError, match="has 1 reward head"):
        train_reward(str(first.model), preferences(), how.model_copy(update={"heads": 2}), tmp_path / "c")


def test_margins(folder: Path, tmp_path: Path) -> None:
    def first_loss(name: str, rows: list[Preference], **more: Any) -> float:
        how = RewardSettings(batch_size=8, lora=LORA, **more)
        train_reward(str(folder), rows, how, tmp_path / name)
        return float(metrics(tmp_path / name)[0]["loss"])

    plain = first_loss("plain", preferences())
    assert first_loss("weighted", preferences(strength=0.5)) == pytest.approx(plain, abs=1e-6)
    half = first_loss("strength", preferences(strength=0.5), margin="strength", margin_scale=4.0)
    assert half > plain + 0.1
    assert first_loss("given", preferences(margin=2.0), margin="given") == pytest.approx(half, abs=1e-6)
    assert first_loss("centred", preferences(), centring=0.5) > plain
    with pytest.raises(UserError, match="row p0 has no margin"):
        first_loss("none", preferences(), margin="given")
    with pytest.raises(ValidationError, match="margin_scale does nothing"):
        RewardSettings(margin_scale=2.0)


def test_a_cost_model_learns_order_and_sign_and_is_read_as_less_the_cost(folder: Path, tmp_path: Path) -> None:
    rows = preferences(chosen_safe=True, rejected_safe=False)
    how = CostSettings(epochs=10, batch_size=4, learning_rate=1e-2, lora=LORA)
    done = train_cost(str(folder), rows, how, tmp_path)
    assert metrics(tmp_path)[-1]["accuracy"] == metrics(tmp_path)[-1]["sign_accuracy"] == 1.0
    scored = [row.reward for row in RewardModel(str(done.model)).reward(exchanges(rows))]
    assert all(reward is not None and reward > 0 for reward in scored[0::2])
    assert all(reward is not None and reward < 0 for reward in scored[1::2])


def test_a_cost_model_needs_signs_unless_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no row says whether a side is safe"):
        train_cost(str(folder), preferences(), CostSettings(lora=LORA), tmp_path / "a")
    done = train_cost(str(folder), preferences(), CostSettings(lora=LORA, sign_weight=0), tmp_path / "b")
    assert find_head(str(done.model)).kind == "cost"  # type: ignore[union-attr]


def scored(count: int = 8) -> list[Scored]:
    return [
        Scored(
            f"s{i}", user_prompt(f"Say {i}."), "No." if i % 2 else f"Gladly: {i}.", {"quality": 2.0 if i % 2 else 8.0}
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("heads", [1, 3])
def test_a_regression_gives_rewards_in_the_units_of_its_scores(folder: Path, tmp_path: Path, heads: int) -> None:
    how = PointwiseSettings(epochs=25, batch_size=4, learning_rate=1e-2, lora=LORA, heads=heads)
    done = train_reward_pointwise(str(folder), scored(), how, tmp_path)
    seen = metrics(tmp_path)
    assert seen[-1]["mean_error"] < 1 < seen[0]["mean_error"]
    asked = [Exchange(row.id, row.prompt, row.completion) for row in scored()]
    found = [row.reward for row in RewardModel(str(done.model)).reward(asked)]
    assert found == pytest.approx([row.scores["quality"] for row in scored()], abs=1.5)


def test_scores_that_cannot_be_learned_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="row s0 has no score"):
        train_reward_pointwise(str(folder), scored(), PointwiseSettings(score="honesty"), tmp_path / "a")
    with pytest.raises(UserError, match="every completion has the score 8"):
        train_reward_pointwise(str(folder), scored()[::2], PointwiseSettings(lora=LORA), tmp_path / "b")


def test_regression_is_a_mean_of_squares_however_it_is_split() -> None:
    groups = groups_of(*((4, 3) for _ in range(6)))
    scores = {g.key: 0.5 * i for i, g in enumerate(groups)}
    values = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    objective = PointwiseObjective(scores, bootstrap_counts(scores, 1, 0))
    whole = objective.loss(values, Row(groups), Tally())
    want = sum((values[i] - 0.5 * i).square().mean() for i in range(6))
    assert whole.item() == pytest.approx(float(want), rel=1e-5)
    parts = [objective.loss(values[i : i + 1], Row([g]), Tally()) for i, g in enumerate(groups)]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-5)  # type: ignore[union-attr]


def test_ensembles(folder: Path, tmp_path: Path) -> None:
    how = RewardSettings(epochs=4, batch_size=4, learning_rate=1e-2, lora=LORA, heads=4)
    done = train_reward(str(folder), preferences(), how, tmp_path)
    assert metrics(tmp_path)[-1]["head_std"] > 0
    asked = exchanges(preferences())
    reads = {how: RewardModel(str(done.model), how, 2.0).reward(asked) for how in ("mean", "worst", "penalised")}
    for mean, worst, penalised in zip(*reads.values(), strict=True):
        values = torch.tensor(mean.heads)
        assert len(mean.heads) == 4
        assert mean.reward == pytest.approx(values.mean().item(), abs=1e-6)
        assert worst.reward == values.min().item()
        assert penalised.reward == pytest.approx((values.mean() - 2 * values.std(correction=0)).item(), abs=1e-5)


def test_many_completions_of_a_prompt_are_scored_in_order_whatever_the_budget(folder: Path, tmp_path: Path) -> None:
    done = train_reward(str(folder), preferences(), RewardSettings(epochs=2, lora=LORA), tmp_path)
    asked = [Exchange(str(i), user_prompt(f"Say {i % 3}."), "so " * (i % 7) + "there.") for i in range(20)]
    told: list[tuple[int, int]] = []
    wide = RewardModel(str(done.model)).reward(asked, lambda *counts: told.append(counts))
    narrow = RewardModel(str(done.model), row_tokens=60).reward(asked)
    assert [row.id for row in wide] == [row.id for row in narrow] == [row.id for row in asked]
    assert [row.reward for row in wide] == pytest.approx([row.reward for row in narrow], abs=0.02)
    assert told[-1] == (20, 20)
