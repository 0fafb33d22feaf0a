"""Losses and the learning-rate schedule against their formulas, written out in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charter.training.layout import Group, Row
from charter.training.losses import dpo_loss, nll_loss
from charter.training.methods.dpo import DpoSettings, pair_loss
from charter.training.methods.likelihood import SftObjective
from charter.training.methods.pairs import PairObjective
from charter.training.objective import Tally
from charter.training.optimizer import MasterAdamW, learning_rate

margins = st.lists(st.floats(-40, 40), min_size=1, max_size=6)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@given(margins, st.floats(0.01, 2), st.floats(0, 0.49))
def test_dpo_is_the_mixed_cross_entropy_of_the_preference_probability(
    values: list[float], beta: float, smoothing: float
) -> None:
    m = np.array(values)
    # Bradley-Terry: p(chosen beats rejected) = sigmoid(beta m); a label is flipped with chance `smoothing`.
    p = sigmoid(beta * m)
    with np.errstate(divide="ignore"):
        want = -(1 - smoothing) * np.log(p) - (smoothing * np.log(sigmoid(-beta * m)) if smoothing else 0)
    got = dpo_loss(torch.tensor(values, dtype=torch.float64), beta, smoothing).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-12)


@given(margins, st.floats(0.01, 2), st.floats(0, 0.49))
def test_gradient_of_dpo(values: list[float], beta: float, smoothing: float) -> None:
    m = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    dpo_loss(m, beta, smoothing).sum().backward()
    # d/dm of the cross-entropy is beta (sigmoid(beta m) - (1 - smoothing)); Rafailov et al. 2023, section 4.
    want = beta * (sigmoid(beta * np.array(values)) - (1 - smoothing))
    assert m.grad is not None
    np.testing.assert_allclose(m.grad.numpy(), want, rtol=1e-6, atol=1e-12)


def test_dpo_at_the_reference_is_ln_2() -> None:
    assert dpo_loss(torch.zeros(1), 0.7).item() == pytest.approx(math.log(2))
    assert dpo_loss(torch.zeros(1), 0.7, 0.2).item() == pytest.approx(math.log(2))


def test_dpo_objective_on_a_row() -> None:
    groups = (Group("a", (1,), ((2, 3), (4,))), Group("b", (1, 2), ((5,), (6, 7, 8))))
    logp = np.array([-1.0, -0.5, -2.0, -0.25, -1.0, -1.5, -0.75])
    reference = {"a": torch.tensor([-2.0, -1.0]), "b": torch.tensor([-0.5, -3.0])}
    beta, smoothing, sft = 0.3, 0.1, 0.4
    m = np.array([(-1.5 + 2.0) - (-2.0 + 1.0), (-0.25 + 0.5) - (-3.25 + 3.0)])
    loss = -(1 - smoothing) * np.log(sigmoid(beta * m)) - smoothing * np.log(sigmoid(-beta * m))
    want = loss.sum() + sft * (1.5 / 2 + 0.25 / 1)
    tally = Tally()
    how = pair_loss(DpoSettings(beta=beta, label_smoothing=smoothing, sft_weight=sft))
    got = PairObjective(how, reference).loss(torch.tensor(logp).float(), Row(groups), tally)
    assert got.item() == pytest.approx(want, rel=1e-5)
    assert tally.means()["margin"] == pytest.approx((beta * m).mean(), rel=1e-5)
    assert tally.means()["accuracy"] == 1.0


def test_sft_objective_weighs_rows() -> None:
    groups = (Group("a", (1,), ((2, 3),)), Group("b", (1, 2), ((5, 6, 7),)))
    objective = SftObjective({"a": 2.0, "b": 0.5})
    logp = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0])
    assert objective.loss(logp, Row(groups), Tally()).item() == pytest.approx(2 * 3 + 0.5 * 12)
    assert sum(map(objective.weight, groups)) == pytest.approx(2 * 2 + 0.5 * 3)
    assert nll_loss(logp, torch.ones(5)).tolist() == [1, 2, 3, 4, 5]


def test_an_openings_tokens_count_more_in_loss_and_in_weight() -> None:
    groups = (Group("a", (1,), ((2, 3, 4),)), Group("b", (1, 2), ((5,),)))
    objective = SftObjective({"a": 2.0, "b": 0.5}, opening_tokens=2, opening_weight=3.0)
    logp = torch.tensor([-1.0, -0.5, -2.0, -0.25])
    loss = objective.loss(logp, Row(groups), Tally())
    assert loss.item() == pytest.approx(2.0 * (3 * 1.0 + 3 * 0.5 + 2.0) + 0.5 * 3 * 0.25)
    assert [objective.weight(group) for group in groups] == [2.0 * (3 + 3 + 1), 0.5 * 3]


@pytest.mark.parametrize(
    ("schedule", "fall"),
    [
        ("linear", lambda share: 1 - share),
        ("cosine", lambda share: (1 + math.cos(math.pi * share)) / 2),
        ("constant", lambda share: 1.0),  # noqa: ARG005
    ],
)
def test_learning_rate(schedule: str, fall: object) -> None:
    rates = [learning_rate(step, 20, 0.5, 0.25, schedule) for step in range(20)]  # type: ignore[arg-type]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[5:] == pytest.approx([0.5 * fall((step - 5) / 15) for step in range(5, 20)])  # type: ignore[operator]
    assert learning_rate(0, 1, 0.5, 0.1, schedule) == 0.5  # type: ignore[arg-type]
    assert learning_rate(0, 7, 0.5, 0.0, schedule) == 0.5  # type: ignore[arg-type]


def test_optimizer_is_adamw_written_out() -> None:
    drawn = np.random.default_rng(0)
    start, grads = drawn.normal(size=(3, 4)), drawn.normal(size=(5, 3, 4))
    weight = torch.nn.Parameter(torch.tensor(start).float())
    optimizer = MasterAdamW([weight], betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    w, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t, grad in enumerate(grads, 1):
        for half in (0.25, 0.75):  # two backward passes, one update
            weight.grad = torch.tensor(half * grad).float()
            optimizer.accumulate()
        norm = optimizer.step(0.05, max_grad_norm=2.0)
        assert norm == pytest.approx(np.linalg.norm(grad), rel=1e-5)
        grad = grad * min(1.0, 2.0 / np.linalg.norm(grad))
        m, v = 0.8 * m + 0.2 * grad, 0.95 * v + 0.05 * grad**2
        w = w - 0.05 * 0.1 * w - 0.05 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
    np.testing.assert_allclose(weight.detach().numpy(), w, rtol=1e-5, atol=1e-6)


def test_small_updates_to_bf16_weights_are_not_lost() -> None:
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = MasterAdamW([weight], betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for _ in range(100):  # each update is 1e-4: far below bf16's step of 0.004 below one
        weight.grad = torch.ones_like(weight)
        optimizer.accumulate()
        optimizer.step(1e-4, 1e9)
    assert weight.float().tolist() == pytest.approx([0.99] * 4, abs=0.003)
