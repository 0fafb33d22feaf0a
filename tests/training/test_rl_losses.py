"""KL estimates and control, rewards per token, clipped losses and the multiplier: properties and known failures."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from charter.training.kl import ESTIMATORS, KlControl, k2, k3
from charter.training.lagrange import Multiplier
from charter.training.rl_losses import (
    clipped_share,
    clipped_surrogate,
    completion_mean,
    constant_length_mean,
    engine_log_ratio,
    masked_importance,
    token_mean,
    truncated_importance,
    value_loss,
)
from charter.training.segments import Segments
from charter.training.token_rewards import (
    clip_scores,
    penalise_missing_end,
    scored_tokens,
    set_missing_end,
    token_rewards,
)

NAN = float("nan")
AVERAGES = {
    "completion": completion_mean,
    "token": token_mean,
    "constant": partial(constant_length_mean, tokens=12),
}


def distributions() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(3)
    return torch.randn(9, generator=drawn, dtype=torch.float64), torch.randn(9, generator=drawn, dtype=torch.float64)


def test_k1_and_k3_are_the_kl_in_expectation_and_k2_nearly() -> None:
    policy, reference = (x.log_softmax(0) for x in distributions())
    kl = float((policy.exp() * (policy - reference)).sum())
    means = {name: float((policy.exp() * e(policy, reference)).sum()) for name, e in ESTIMATORS.items()}
    assert means["k1"] == pytest.approx(kl, rel=1e-12)
    assert means["k3"] == pytest.approx(kl, rel=1e-12)
    # k2's bias is of third order: near the reference it is as good.
    near = reference + 0.01 * (policy - reference)
    near = near - near.logsumexp(0)
    small = float((near.exp() * (near - reference)).sum())
    assert float((near.exp() * k2(near, reference)).sum()) == pytest.approx(small, rel=0.02)


def test_gradients_in_a_loss_are_those_the_module_claims() -> None:
    """Expectation over tokens that were sampled (held fixed) of the estimator's gradient, by enumeration."""
    logits, other = distributions()
    reference = other.log_softmax(0)

    def gradient(loss: Tensor, at: Tensor) -> Tensor:
        return torch.autograd.grad(loss, at)[0]

    at = logits.clone().requires_grad_()
    logp = at.log_softmax(0)
    sampled = logp.detach().exp()
    expected = {
        name: gradient((sampled * e(logp, reference)).sum(), at)
        for name, e in ESTIMATORS.items()
        for logp in [at.log_softmax(0)]
    }
    reverse = gradient((at.log_softmax(0).exp() * (at.log_softmax(0) - reference)).sum(), at)
    forward = gradient((reference.exp() * (reference - at.log_softmax(0))).sum(), at)
    torch.testing.assert_close(expected["k1"], torch.zeros_like(at))
    torch.testing.assert_close(expected["k2"], reverse)
    torch.testing.assert_close(expected["k3"], forward)


@given(st.floats(-1e4, 0, width=32), st.floats(-1e4, 0, width=32))
def test_k2_and_k3_are_never_negative_nor_infinite(logp: float, reference: float) -> None:
    at = torch.tensor([logp], requires_grad=True)
    for estimator in (k2, k3):
        value = estimator(at, torch.tensor([reference]))
        (slope,) = torch.autograd.grad(value.sum(), at)
        assert value.item() >= 0
        assert math.isfinite(value.item())
        assert slope.isfinite().all()


def test_k3_keeps_its_digits_near_the_reference() -> None:
    # exp(x) - 1 - x in fp32 would be rounding here, of either sign.
    for apart in (1e-3, -1e-3, 1e-4, -1e-4):
        assert k3(torch.tensor([apart]), torch.zeros(1)).item() == pytest.approx(apart * apart / 2, rel=2e-2)


def test_a_policy_is_paid_without_end_for_unlikely_tokens_by_k1_and_never_by_k3() -> None:
    """The negative-KL runaway (trl#417): tokens that the policy finds ever unlikelier, which a filter forces on it."""
    completions = Segments.of([4])
    totals: dict[str, list[float]] = {"k1": [], "k3": []}
    for fall in (1.0, 5.0, 25.0, 125.0):
        logp_N, reference_N = torch.full((4,), -2.0 - fall), torch.full((4,), -2.0)
        for name, seen in totals.items():
            kl_N = ESTIMATORS[name](logp_N, reference_N)
            seen.append(token_rewards(torch.zeros(1), kl_N, 0.1, completions).sum().item())
    assert totals["k1"] == pytest.approx([0.4, 2.0, 10.0, 50.0])
    assert all(total < 0 for total in totals["k3"])
    # An adaptive controller makes no end of it either: a KL far below its target lowers the penalty step by step only.
    assert KlControl(0.1, 6.0, 1000).after(-500, 100).beta == pytest.approx(0.1 * 0.98)


def test_a_fixed_weight_stays_and_an_adaptive_one_follows() -> None:
    assert KlControl(0.3).after(1e9, 64) == KlControl(0.3)
    control = KlControl(0.3, target=6.0, horizon=1000.0)
    assert control.after(6.0, 100) == control
    assert control.after(6.6, 100).beta == pytest.approx(0.3 * (1 + 0.1 * 0.1))
    assert control.after(60.0, 100).beta == pytest.approx(0.3 * 1.02)
    assert control.after(0.0, 100).beta == pytest.approx(0.3 * 0.98)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KlControl(0.1, target=6.0), "a target and a horizon"),
        (lambda: KlControl(-0.1), "must not be negative"),
        (lambda: KlControl(0.1, 0.0, 10.0), "above zero"),
        (lambda: KlControl(0.1, 6.0, 10.0).after(NAN, 1), "cannot follow"),
        (lambda: KlControl(0.1, 6.0, 10.0).after(1.0, 50), "too short"),
        (lambda: Multiplier(0.0, 0.0, 0.0), "above zero"),
        (lambda: Multiplier(0.0, 0.0, 0.1).after(NAN), "cannot follow"),
        (lambda: token_rewards(torch.tensor([1.0, NAN]), torch.zeros(3), 0.1, Segments.of([1, 2])), "completion 1"),
    ],
)
def test_numbers_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_states_come_back_bit_by_bit(tmp_path: Path) -> None:
    control, multiplier = KlControl(0.1, 6.0, 1000.0), Multiplier(0.1, 0.2, 0.3, ceiling=50.0)
    for step in range(5):
        control, multiplier = control.after(7.0 + step, 33), multiplier.after(0.1 * step)
    save_file(control.tensors() | multiplier.tensors(), tmp_path / "state.safetensors")
    read = load_file(tmp_path / "state.safetensors")
    assert KlControl(0.9, 6.0, 1000.0).restored(read) == control
    assert Multiplier(0.9, 0.2, 0.3, ceiling=50.0).restored(read) == multiplier


def test_a_score_stands_at_the_last_token_that_is_kept_and_nowhere_else() -> None:
    completions = Segments.of([3, 1, 2, 2])
    keep_N = torch.tensor([True, True, False, True, True, True, False, False])
    scores_C, kl_N = torch.tensor([5.0, -1.0, 2.0, NAN]), torch.arange(8.0)
    rewards_N = token_rewards(scores_C, kl_N, 0.5, completions, keep_N)
    assert rewards_N.tolist() == [0.0, -0.5 + 5.0, 0.0, -1.5 - 1.0, -2.0, -2.5 + 2.0, 0.0, 0.0]
    sums_C = completions.sum(rewards_N)
    want_C = torch.where(scores_C.isnan(), 0, scores_C) - 0.5 * completions.sum(kl_N, keep_N)
    torch.testing.assert_close(sums_C, want_C)


def test_unscored_completions_lose_all_their_tokens() -> None:
    completions = Segments.of([2, 1, 2])
    keep_N = torch.tensor([True, False, True, True, True])
    assert scored_tokens(torch.tensor([1.0, NAN, 0.0]), completions, keep_N).tolist() == [1, 0, 0, 1, 1]
    assert scored_tokens(torch.tensor([1.0, NAN, 0.0]), completions).tolist() == [1, 1, 0, 1, 1]


def test_what_a_completion_without_an_end_gets() -> None:
    scores_C, ended_C = torch.tensor([3.0, 2.0, NAN, NAN]), torch.tensor([True, False, True, False])
    assert set_missing_end(scores_C, ended_C, -1.0).nan_to_num(99).tolist() == [3.0, -1.0, 99.0, -1.0]
    assert penalise_missing_end(scores_C, ended_C, 1.5).nan_to_num(99).tolist() == [3.0, 0.5, 99.0, 99.0]
    assert clip_scores(scores_C, -1.0, 2.5).nan_to_num(99).tolist() == [2.5, 2.0, 99.0, 99.0]
    # The end is never sampled: all get the same, and a group of them teaches nothing.
    never = torch.zeros(4, dtype=torch.bool)
    assert len(set(set_missing_end(torch.tensor([3.0, 2.0, 0.5, 9.0]), never, -1.0).tolist())) == 1


def test_the_surrogate_at_the_sampling_policy_is_the_policy_gradient() -> None:
    log_ratio, advantages = torch.zeros(4, requires_grad=True), torch.tensor([1.0, -2.0, 0.0, 3.0])
    loss = clipped_surrogate(log_ratio, advantages, 0.2, 0.2)
    loss.sum().backward()
    assert loss.tolist() == (-advantages).tolist()
    assert log_ratio.grad is not None
    assert log_ratio.grad.tolist() == (-advantages).tolist()


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_the_surrogate_is_its_formula(log_ratio: float, advantage: float) -> None:
    r, low, high, c = math.exp(log_ratio), 0.2, 0.28, 2.0
    plain = min(r * advantage, min(max(r, 1 - low), 1 + high) * advantage)
    bounded = max(plain, c * advantage) if advantage < 0 else plain
    at = torch.tensor([log_ratio], dtype=torch.float64)
    given_advantage = torch.tensor([advantage], dtype=torch.float64)
    assert -clipped_surrogate(at, given_advantage, low, high).item() == pytest.approx(plain, rel=1e-9, abs=1e-12)
    assert -clipped_surrogate(at, given_advantage, low, high, c).item() == pytest.approx(bounded, rel=1e-9, abs=1e-12)


def test_where_the_clip_holds_there_is_no_gradient() -> None:
    log_ratio = torch.tensor([0.3, -0.3, 0.3, -0.3, 0.0, 0.3], requires_grad=True)
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0, 0.0])
    clipped_surrogate(log_ratio, advantages, 0.2, 0.2).sum().backward()
    assert log_ratio.grad is not None
    held = clipped_share(log_ratio, advantages, 0.2, 0.2)
    assert held.tolist() == [True, False, False, True, False, False]
    assert ((log_ratio.grad == 0) == (held | (advantages == 0))).all()


@pytest.mark.parametrize("ratio", [-1e4, -100.0, 100.0, 1e4, float("inf")])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_losses_and_gradients_stay_finite_at_extreme_ratios(ratio: float, advantage: float) -> None:
    log_ratio = torch.tensor([ratio], requires_grad=True)
    for dual_clip in (None, 3.0):
        loss = clipped_surrogate(log_ratio, torch.tensor([advantage]), 0.2, 0.2, dual_clip)
        (slope,) = torch.autograd.grad(loss.sum(), log_ratio)
        assert loss.isfinite().all()
        assert slope.isfinite().all()
        assert dual_clip is None or loss.item() <= 3.0
    assert truncated_importance(log_ratio, 2.0).isfinite().all()
    assert masked_importance(log_ratio, 0.5, 2.0).item() == 0


def test_value_clipping_only_ever_makes_the_loss_larger() -> None:
    values_N, old_N, returns_N = torch.randn(3, 200, generator=torch.Generator().manual_seed(2))
    plain_N = value_loss(values_N, old_N, returns_N, None)
    torch.testing.assert_close(plain_N, (values_N - returns_N) ** 2 / 2)
    clipped_N = value_loss(values_N, old_N, returns_N, 0.2)
    assert (clipped_N >= plain_N).all()
    assert (clipped_N > plain_N).any()
    torch.testing.assert_close(value_loss(values_N, values_N, returns_N, 0.2), plain_N)


@pytest.mark.parametrize("name", AVERAGES)
def test_the_split_of_a_batch_does_not_change_its_loss(name: str) -> None:
    drawn = torch.Generator().manual_seed(4)
    sizes = [3, 1, 7, 2, 12]
    losses_N = torch.randn(sum(sizes), generator=drawn)
    keep_N = torch.rand(sum(sizes), generator=drawn) < 0.6
    keep_N[3] = False  # the second completion has no token left

    def parts(chosen: list[int], start: int) -> tuple[float, float]:
        count = sum(chosen)
        kept = keep_N[start : start + count]
        shares_N, weights_C = AVERAGES[name](Segments.of(chosen), kept)
        return float((losses_N[start : start + count] * shares_N).sum()), float(weights_C.sum())

    whole, weight = parts(sizes, 0)
    first, second = parts(sizes[:2], 0), parts(sizes[2:], 4)
    assert first[0] + second[0] == pytest.approx(whole, rel=1e-5)
    assert first[1] + second[1] == weight

    kept = [(part[k], len(part)) for part, k in zip(losses_N.split(sizes), keep_N.split(sizes), strict=True)]
    full = [part.numpy() for part, _ in kept if len(part)]
    assert len(full) == 4
    want = {
        "completion": np.mean([part.mean() for part in full]),
        "token": np.concatenate(full).mean(),
        "constant": np.mean([part.sum() / 12 for part in full]),
    }
    assert whole / weight == pytest.approx(want[name], rel=1e-5)


def test_an_engines_missing_log_prob_corrects_nothing() -> None:
    log_ratio_N = engine_log_ratio(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.5, NAN, -2.0]))
    assert log_ratio_N.tolist() == [0.5, 0.0, -1.0]
    assert truncated_importance(log_ratio_N, 1.2).tolist() == pytest.approx([1.2, 1.0, math.exp(-1)])
    assert masked_importance(log_ratio_N, 0.5, 1.2).tolist() == [0.0, 1.0, 0.0]


def test_the_multiplier_is_gradient_ascent_on_its_logarithm() -> None:
    """As in the authors' description: SGD on log lambda of the loss -(cost - limit) · lambda."""
    costs, limit, rate = [2.0, -1.0, 0.5, 3.0], 0.25, 0.1
    log_lambda = torch.tensor(math.log(1.5), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([log_lambda], lr=rate)
    multiplier = Multiplier(math.log(1.5), limit, rate)
    for cost in costs:
        optimizer.zero_grad()
        (-(cost - limit) * log_lambda.exp()).backward()
        optimizer.step()
        multiplier = multiplier.after(cost)
        assert multiplier.log_value == pytest.approx(log_lambda.item(), rel=1e-12)
    for _ in range(50):
        multiplier = multiplier.after(-30.0)
    assert 0 < multiplier.value < 0.1
    assert Multiplier(0.0, 0.0, 1.0, ceiling=4.0).after(100.0).value == pytest.approx(4.0)


@given(st.floats(-4, 4), st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 5))
def test_the_multiplier_weighs_reward_against_cost(
    log_value: float, reward: float, cost: float, penalty: float
) -> None:
    multiplier = Multiplier(log_value, 0.0, 0.1)
    got = multiplier.joined(torch.tensor(reward), torch.tensor(cost)).item()
    lam = math.exp(log_value)
    assert got == pytest.approx((reward - lam * cost) / (1 + lam), rel=1e-4, abs=1e-5)
    # A KL penalty in both parts, taken from the reward and added to the cost, is the same penalty on the result.
    both = multiplier.joined(torch.tensor(reward - penalty), torch.tensor(cost + penalty)).item()
    assert both == pytest.approx(got - penalty, rel=1e-4, abs=1e-4)
