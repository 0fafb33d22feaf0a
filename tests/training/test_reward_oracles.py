"""Reward losses, gradients and whole runs against TRL, frozen under oracles/; the cost model against its paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_oracles import ORACLES, groups_in_order, losses_of, tiny_llama
from torch import Tensor

from charter.models.lora import LoraSettings, add_lora
from charter.models.reward_head import RewardHead
from charter.training.layout import Group, Row
from charter.training.methods.cost import CostObjective
from charter.training.methods.reward import RewardObjective
from charter.training.objective import Tally
from charter.training.rewards import CompletionRewards

EXACT = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def frozen() -> dict[str, Tensor]:
    return load_file(ORACLES / "rewards.safetensors")


@pytest.fixture(scope="module")
def trainers() -> dict[str, Tensor]:
    return load_file(ORACLES / "trainers.safetensors")


def pair_row(pairs: int) -> Row:
    return Row([Group(f"{p}", (1, 2), ((3,), (4, 5))) for p in range(pairs)])


@pytest.mark.parametrize(
    ("name", "margin", "centring"),
    [("plain", False, 0.0), ("margin", True, 0.0), ("centred", False, 0.02), ("both", True, 0.02)],
)
def test_reward_losses_and_their_gradients_are_trls(
    name: str, margin: bool, centring: float, frozen: dict[str, Tensor]
) -> None:
    rewards_P2 = frozen["rewards_P2"].clone().requires_grad_()
    pairs = len(rewards_P2)
    margins = {str(p): float(m) for p, m in enumerate(frozen["margins_P"])} if margin else {}
    objective = RewardObjective(margins, {}, {}, centring)
    total = objective.loss(rewards_P2.view(-1, 1), pair_row(pairs), Tally())
    total.backward()
    torch.testing.assert_close(total, frozen[f"{name}.losses_P"].sum(), **EXACT)
    torch.testing.assert_close(rewards_P2.grad, frozen[f"{name}.gradient_P2"], **EXACT)
    for p in range(pairs):
        row = Row([Group(str(p), (1, 2), ((3,), (4, 5)))])
        one = objective.loss(frozen["rewards_P2"][p, :, None], row, Tally())
        torch.testing.assert_close(one, frozen[f"{name}.losses_P"][p], **EXACT)


def test_the_cost_models_loss_is_the_papers_formula_in_float64(frozen: dict[str, Tensor]) -> None:
    """Dai et al. 2023, eq. 6, with y_w the more harmful answer and s = 1 for harmful ones, -1 for the others."""
    costs_P2 = frozen["rewards_P2"].clone().requires_grad_()
    safe = [(True, False), (False, False), (True, True), (None, False)] * 4
    labels = {str(p): pair for p, pair in enumerate(safe)}
    objective = CostObjective(labels, {"3": 0.5}, {}, 0.7)
    got = objective.loss(costs_P2.view(-1, 1), pair_row(len(costs_P2)), Tally())
    got.backward()

    c = frozen["rewards_P2"].double().numpy()  # columns: less harmful (chosen), more harmful (rejected)
    s = np.array([[{True: -1.0, False: 1.0, None: 0.0}[label] for label in pair] for pair in safe])
    weight = np.where(np.arange(len(c)) == 3, 0.5, 1.0)[:, None]

    def log_sigmoid(x: np.ndarray) -> np.ndarray:
        return -np.logaddexp(0, -x)

    gap = (c[:, 1] - c[:, 0])[:, None]
    want = -weight * log_sigmoid(gap) - 0.7 * weight * np.where(s != 0, log_sigmoid(s * c), 0).sum(1, keepdims=True)
    assert got.item() == pytest.approx(want.sum(), rel=1e-5)
    # d log sigmoid(x) / dx = sigmoid(-x)
    slope = weight / (1 + np.exp(gap)) * np.array([1.0, -1.0]) - 0.7 * weight * s / (1 + np.exp(s * c))
    assert costs_P2.grad is not None
    np.testing.assert_allclose(costs_P2.grad.numpy(), slope, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["full", "full_margin_centred", "lora"])
def test_ten_reward_steps_are_trls(
    name: str, frozen: dict[str, Tensor], trainers: dict[str, Tensor], tmp_path: Path
) -> None:
    groups = groups_in_order(trainers, [["chosen", "rejected"]] * 40)
    model: Any = tiny_llama(trainers)
    if name == "lora":
        model = add_lora(model, LoraSettings(r=4, alpha=8), 0)
        weights = {key: p for key, p in model.named_parameters() if "lora_" in key}
        start = {key.removeprefix("adapter."): x for key, x in frozen.items() if key.startswith("adapter.")}
        assert weights.keys() == start.keys()
        with torch.no_grad():
            for key, weight in weights.items():
                weight.copy_(start[key])
    margins, centring = {}, 0.0
    if name == "full_margin_centred":
        margins, centring = {f"{i:02}": float(m) for i, m in enumerate(frozen["margins_R"])}, 0.01
    forward = CompletionRewards(model, RewardHead(frozen["head_KD"].clone(), None, "reward"))
    objective = RewardObjective(margins, {}, {}, centring)
    seen = losses_of(model, objective, groups, tmp_path, forward)
    assert seen == pytest.approx(frozen[f"{name}.losses"].tolist(), abs=1e-3)
