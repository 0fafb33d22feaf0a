"""Constrained first tokens: the paper's loss by hand, its limits, and the objective against token-by-token sums."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from tiny import groups_of, one_by_one, tiny_model, with_lora

from charter.training.layout import Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods.constrained import ConstrainedObjective, constrained_nll
from charter.training.methods.likelihood import SftObjective
from charter.training.methods.sft import SftSettings
from charter.training.objective import Tally

BETAS = (0.5, 2.0, 0.1)


def test_the_loss_is_the_papers() -> None:
    logp, reference, beta = torch.tensor([-1.0]), torch.tensor([-3.0]), torch.tensor([2.0])
    want = -(2 / 2.0) * math.log(1 / (1 + math.exp(-2.0 * (-1.0 + 3.0))))
    assert constrained_nll(logp, reference, beta).item() == pytest.approx(want)


def test_its_gradient_is_the_likelihoods_for_small_beta_and_fades_for_large() -> None:
    # Qi et al., section 4.1: the gradient is that of cross-entropy times 2 sigmoid(-beta · log-ratio) = w_t.
    for beta in (1e-4, 0.5, 4.0):
        logp = torch.tensor([-1.0], requires_grad=True)
        constrained_nll(logp, torch.tensor([-2.5]), torch.tensor([beta])).sum().backward()
        assert logp.grad is not None
        assert logp.grad.item() == pytest.approx(-2 / (1 + math.exp(beta * 1.5)), rel=1e-5)


def test_a_row_adds_up_token_by_token() -> None:
    model = with_lora(tiny_model())
    groups = groups_of((5, 8), (3, 2), (4, 6))
    logprobs = CompletionLogprobs(model)
    weights = {group.key: 1.0 + i for i, group in enumerate(groups)}
    objective = ConstrainedObjective(SftObjective(weights), BETAS)
    total = objective.row_loss(logprobs, Row(groups), Tally())
    with torch.no_grad():
        policy = one_by_one(model, groups)
        with model.disable_adapter():
            base = one_by_one(model, groups)
    want, place = 0.0, 0
    for group in groups:
        for t in range(1, len(group.completions[0]) + 1):
            beta = BETAS[0] if t == 1 else BETAS[1] if t <= 5 else BETAS[2]
            ratio = float(policy[place] - base[place])
            want += weights[group.key] * -(2 / beta) * math.log(1 / (1 + math.exp(-beta * ratio)))
            place += 1
    assert total.item() == pytest.approx(want, rel=1e-4)
    total.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_it_stands_alone() -> None:
    for extra in ({"kl_weight": 0.1}, {"opening_weight": 2.0}, {"lora": None}):
        with pytest.raises(ValidationError, match="constrain"):
            SftSettings.model_validate({"constrain": BETAS, **extra})
    with pytest.raises(ValidationError):
        SftSettings.model_validate({"constrain": (0.0, 2.0, 0.1)})
