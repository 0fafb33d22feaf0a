"""Advantages by their definitions, written out as sums, and what must never happen to them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charter.training.advantages import (
    batch_std_advantages,
    discounted_returns,
    dr_grpo_advantages,
    gae,
    grpo_advantages,
    reinforce_pp_advantages,
    rloo_advantages,
    whiten,
)
from charter.training.layout import Group, Row
from charter.training.segments import Segments, completions_of, groups_of

NAN = float("nan")
GROUPED: dict[str, Callable[[Tensor, Segments], Tensor]] = {
    "grpo": partial(grpo_advantages, epsilon=1e-9),
    "dr_grpo": dr_grpo_advantages,
    "batch_std": partial(batch_std_advantages, epsilon=1e-9),
    "rloo": rloo_advantages,
}


@st.composite
def ragged(draw: st.DrawFn) -> tuple[Segments, Tensor, Tensor, Tensor]:
    """Completions of 1 to 40 tokens, rewards, values, and which tokens are kept (maybe none of some completion)."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    drawn = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    rewards_N, values_N = torch.randn(2, sum(sizes), generator=drawn)
    keep_N = torch.rand(sum(sizes), generator=drawn) < draw(st.sampled_from([0.3, 0.8, 1.1]))
    return Segments.of(sizes), rewards_N, values_N, keep_N


def gae_by_its_definition(
    completions: Segments, rewards_N: Tensor, values_N: Tensor, keep_N: Tensor, gamma: float, lam: float
) -> np.ndarray:
    """Schulman et al. 2015, eq. 16: a double sum, for one completion and one token after another."""
    found, start = np.zeros(len(rewards_N)), 0
    for size in completions.sizes_S.tolist():
        places = [start + t for t in range(size) if keep_N[start + t]]
        r, v = rewards_N.double().numpy()[places], [*values_N.double().numpy()[places], 0.0]
        for t, place in enumerate(places):
            deltas = [r[u] + gamma * v[u + 1] - v[u] for u in range(t, len(places))]
            found[place] = sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas))
        start += size
    return found


@settings(deadline=None, max_examples=60)
@given(ragged(), st.floats(0, 1), st.floats(0, 1))
def test_gae_is_its_definition(case: tuple[Segments, Tensor, Tensor, Tensor], gamma: float, lam: float) -> None:
    completions, rewards_N, values_N, keep_N = case
    advantages_N, returns_N = gae(rewards_N, values_N, completions, gamma, lam, keep_N)
    want_N = gae_by_its_definition(completions, rewards_N, values_N, keep_N, gamma, lam)
    np.testing.assert_allclose(advantages_N.numpy(), want_N, atol=2e-5)
    kept = keep_N.numpy()
    np.testing.assert_allclose(returns_N.numpy()[kept], (want_N + values_N.numpy())[kept], atol=2e-5)


@settings(deadline=None, max_examples=40)
@given(ragged(), st.floats(0, 1), st.floats(0, 1))
def test_tokens_that_are_left_out_never_contribute(
    case: tuple[Segments, Tensor, Tensor, Tensor], gamma: float, lam: float
) -> None:
    completions, rewards_N, values_N, keep_N = case
    junk = torch.tensor([NAN, float("inf"), 1e30])[torch.arange(len(keep_N)) % 3]
    bad_rewards_N, bad_values_N = rewards_N.where(keep_N, junk), values_N.where(keep_N, junk)
    for clean, dirty in zip(
        gae(rewards_N, values_N, completions, gamma, lam, keep_N),
        gae(bad_rewards_N, bad_values_N, completions, gamma, lam, keep_N),
        strict=True,
    ):
        assert torch.equal(clean, dirty)
        assert (dirty[~keep_N] == 0).all()
    for function in (
        lambda x: whiten(x, keep_N),
        lambda x: whiten(x, keep_N, shift_mean=False),
        lambda x: discounted_returns(x, completions, gamma, keep_N),
        lambda x: reinforce_pp_advantages(x, completions, gamma, keep_N),
    ):
        assert torch.equal(function(rewards_N), function(bad_rewards_N))
        assert (function(bad_rewards_N)[~keep_N] == 0).all()
    assert torch.equal(completions.sum(rewards_N, keep_N), completions.sum(bad_rewards_N, keep_N))
    assert torch.equal(completions.mean(rewards_N, keep_N), completions.mean(bad_rewards_N, keep_N))


def test_without_discount_and_trace_an_advantage_is_return_less_value() -> None:
    completions = Segments.of([3, 1, 4])
    rewards_N, values_N = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    advantages_N, returns_N = gae(rewards_N, values_N, completions, 1.0, 1.0)
    sums_N = torch.cat([part.flip(0).cumsum(0).flip(0) for part in rewards_N.split([3, 1, 4])])
    torch.testing.assert_close(advantages_N, sums_N - values_N)
    torch.testing.assert_close(returns_N, sums_N)
    advantages_N, _ = gae(rewards_N, values_N, completions, 0.9, 0.0)
    following = torch.tensor([*values_N[1:3], 0, 0, *values_N[5:], 0])
    torch.testing.assert_close(advantages_N, rewards_N + 0.9 * following - values_N)


def test_a_completion_of_one_token_has_its_reward_less_its_value() -> None:
    advantages_N, returns_N = gae(torch.tensor([2.0]), torch.tensor([0.5]), Segments.of([1]), 0.9, 0.8)
    assert (advantages_N.item(), returns_N.item()) == (1.5, 2.0)
    # Its whitened advantage says nothing: there is nothing to compare it with.
    assert whiten(torch.tensor([2.0])).item() == 0.0
    assert whiten(torch.tensor([2.0]), shift_mean=False).item() == 2.0


def test_advantages_have_no_gradient() -> None:
    values_N = torch.ones(4, requires_grad=True)
    completions = Segments.of([3, 1])
    assert not any(x.requires_grad for x in gae(values_N, values_N, completions, 1.0, 1.0))
    assert not whiten(values_N).requires_grad
    assert not any(function(values_N, completions).requires_grad for function in GROUPED.values())


def test_whitening_takes_the_mean_away_unless_told_not_to() -> None:
    """torchtune's `whiten` adds the mean back when `shift_mean` is true, and takes it away when it is false: PPO's
    advantages then keep the mean that whitening is there to remove. Its test compared the function with itself.
    """
    values_N = torch.tensor([3.0, 5.0, 4.0, 100.0, 8.0])
    keep_N = torch.tensor([True, True, True, False, True])
    kept = values_N[keep_N].numpy().astype(float)
    shifted = whiten(values_N, keep_N)[keep_N].numpy()
    np.testing.assert_allclose(shifted, (kept - 5) / np.std(kept, ddof=1), rtol=1e-6)
    assert shifted.mean() == pytest.approx(0, abs=1e-6)
    held = whiten(values_N, keep_N, shift_mean=False)[keep_N].numpy()
    assert held.mean() == pytest.approx(5, abs=1e-5)
    np.testing.assert_allclose(held, shifted + 5, rtol=1e-6)
    biased = whiten(values_N, keep_N, unbiased=False)[keep_N].numpy()
    np.testing.assert_allclose(biased, (kept - 5) / np.std(kept), rtol=1e-6)


def test_whitening_nothing_gives_nothing() -> None:
    assert whiten(torch.tensor([NAN, 1.0]), torch.zeros(2, dtype=torch.bool)).tolist() == [0, 0]
    assert whiten(torch.full((5,), 0.1)).tolist() == pytest.approx([0] * 5, abs=1e-6)


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_group_of_equal_rewards_teaches_nothing(name: str, size: int, dtype: torch.dtype) -> None:
    """0.1 is no binary number: the mean of seven is not 0.1, and an epsilon of 1e-9 would make much of it."""
    rewards_C = torch.tensor([0.1] * size + [0.0, 1.0], dtype=dtype)
    got_C = GROUPED[name](rewards_C, Segments.of([size, 2]))
    assert got_C[:size].tolist() == [0.0] * size
    assert got_C[size] < 0 < got_C[size + 1]


@pytest.mark.parametrize("name", GROUPED)
def test_unscored_completions_are_as_if_they_were_not_there(name: str) -> None:
    rewards_C = torch.tensor([1.0, NAN, 3.0, 2.5, NAN, NAN, NAN, 4.0, NAN, -2.0, 0.0])
    scored_C = ~rewards_C.isnan()
    got_C = GROUPED[name](rewards_C, Segments.of([4, 2, 2, 3]))
    want_C = GROUPED[name](rewards_C[scored_C], Segments.of([3, 1, 2]))
    torch.testing.assert_close(got_C[scored_C], want_C)
    assert (got_C[~scored_C] == 0).all()
    assert got_C.isfinite().all()
    assert GROUPED[name](torch.full((4,), NAN), Segments.of([3, 1])).tolist() == [0.0] * 4


@given(st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4), st.floats(-3, 3))
def test_group_advantages_are_their_formulas(values: list[float], shift: float) -> None:
    groups, r = Segments.of([4, 3]), np.array([*values, 0.0, 1.0, 3.0])
    rewards_C = torch.tensor(r).float()
    means = np.array([np.mean(values)] * 4 + [4 / 3] * 3)
    centred = r - means
    if len(set(values)) == 1:
        centred[:4] = 0
    stds = np.array([np.std(values, ddof=1)] * 4 + [np.std([0, 1, 3], ddof=1)] * 3)
    others = np.array([np.mean(np.delete(r[:4], i)) for i in range(4)] + [2.0, 1.5, 0.5])
    want = {
        "grpo": centred / (stds + 1e-3),
        "dr_grpo": centred,
        "batch_std": centred / (np.std(r, ddof=1) + 1e-3),
        "rloo": np.where(centred == 0, 0, r - others),
    }
    got = {
        "grpo": grpo_advantages(rewards_C, groups, 1e-3),
        "dr_grpo": dr_grpo_advantages(rewards_C, groups),
        "batch_std": batch_std_advantages(rewards_C, groups, 1e-3),
        "rloo": rloo_advantages(rewards_C, groups),
    }
    for name in want:
        np.testing.assert_allclose(got[name].numpy(), want[name], atol=1e-5, err_msg=name)
    # A reward that is higher for a whole group says nothing about its completions.
    moved_C = rewards_C + shift * torch.tensor([1.0] * 4 + [0.0] * 3)
    torch.testing.assert_close(dr_grpo_advantages(moved_C, groups), got["dr_grpo"], atol=1e-5, rtol=1e-5)


def test_empty_completions_and_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="segment 1 has no items"):
        Segments.of([3, 0, 2])
    with pytest.raises(ValueError, match="5 items were expected"):
        grpo_advantages(torch.zeros(4), Segments.of([3, 2]), 1e-4)
    with pytest.raises(ValueError, match="3 items were expected"):
        gae(torch.zeros(3), torch.zeros(3), Segments.of([3]), 1.0, 1.0, torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="a mask is boolean"):
        gae(torch.zeros(3), torch.zeros(3), Segments.of([3]), 1.0, 1.0, torch.tensor([1, 0, 1]))


def test_segments_of_a_row_are_the_rows() -> None:
    row = Row([Group("a", (1, 2), ((3, 4), (5,), (6, 7, 8))), Group("b", (1,), ((9,),))])
    completions = completions_of(row)
    assert completions.sizes_S.tolist() == [2, 1, 3, 1]
    assert torch.equal(completions.owner_M, row.sequence_N)
    assert groups_of(row).sizes_S.tolist() == [3, 1]
    assert torch.equal(row.target_N[completions.last()], row.input_ids_T[row.read_R])
    keep_N = torch.tensor([True, False, False, True, False, False, True])
    assert completions.last(keep_N).tolist() == [0, -1, 3, 6]
    assert completions.counts(keep_N).tolist() == [1, 0, 1, 1]
    assert completions.spread(torch.tensor([1, 2, 3, 4])).tolist() == [1, 1, 2, 3, 3, 3, 4]
