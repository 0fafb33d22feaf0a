"""The numbers of online RL, and their gradients, against TRL's, verl's and OpenRLHF's code, frozen under oracles/."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from charter.training.advantages import (
    batch_std_advantages,
    dr_grpo_advantages,
    gae,
    grpo_advantages,
    reinforce_pp_advantages,
    rloo_advantages,
    whiten,
)
from charter.training.kl import ESTIMATORS, KlControl, k1, k2, k3
from charter.training.rl_losses import (
    clipped_surrogate,
    completion_mean,
    constant_length_mean,
    engine_log_ratio,
    masked_importance,
    mean_log_ratio,
    token_mean,
    truncated_importance,
    value_loss,
)
from charter.training.segments import Segments
from charter.training.token_rewards import clip_scores, scored_tokens, token_rewards

ORACLES = Path(__file__).parent / "oracles"
EXACT = {"atol": 1e-5, "rtol": 1e-5}
GROUP, GAMMA, LAM, BETA = 4, 0.97, 0.9, 0.15
LONGEST = 9

close = partial(torch.testing.assert_close, **EXACT)
Averaging = Callable[[Segments, Tensor | None], tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def rl() -> dict[str, Tensor]:
    return load_file(ORACLES / "rl.safetensors")


@pytest.fixture(scope="module")
def ppo(rl: dict[str, Tensor]) -> dict[str, Tensor]:
    return rl | load_file(ORACLES / "ppo.safetensors")


def completions_of(frozen: dict[str, Tensor]) -> Segments:
    return Segments(frozen["lengths_C"])


def groups_of(frozen: dict[str, Tensor]) -> Segments:
    return Segments.of([GROUP] * (len(frozen["lengths_C"]) // GROUP))


def batch_loss(losses_N: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    shares_N, weights_C = weights
    return (losses_N * shares_N).sum() / weights_C.sum()


def check(name: str, leaf_N: Tensor, frozen: dict[str, Tensor], loss: Callable[[Tensor], Tensor]) -> None:
    leaf = leaf_N.clone().requires_grad_()
    value = loss(leaf)
    value.backward()
    close(value[None], frozen[f"{name}.loss"])
    close(leaf.grad, frozen[f"{name}.gradient_N"])


@pytest.mark.parametrize(
    ("name", "averaging", "clip_high", "dual_clip", "kl"),
    [
        ("grpo", completion_mean, 0.2, None, 0.0),
        ("grpo_kl", completion_mean, 0.2, None, 0.3),
        ("dapo", token_mean, 0.28, None, 0.0),
        ("bnpo", token_mean, 0.2, None, 0.0),
        ("dr_grpo", partial(constant_length_mean, tokens=LONGEST + 3), 0.2, None, 0.0),
        ("two_sided", completion_mean, 0.2, 1.5, 0.0),
    ],
)
def test_grpos_losses_are_trls(
    name: str, averaging: Averaging, clip_high: float, dual_clip: float | None, kl: float, rl: dict[str, Tensor]
) -> None:
    completions = completions_of(rl)
    advantages_N = completions.spread(rl["advantages_C"])

    def loss(logp_N: Tensor) -> Tensor:
        losses_N = clipped_surrogate(logp_N - rl["old_N"], advantages_N, 0.2, clip_high, dual_clip)
        return batch_loss(losses_N + kl * k3(logp_N, rl["reference_N"]), averaging(completions, None))

    check(name, rl["logp_N"], rl, loss)


def test_the_frozen_ratios_are_on_both_sides_of_every_clip(rl: dict[str, Tensor]) -> None:
    ratio_N = (rl["logp_N"] - rl["old_N"]).exp()
    worse_N = completions_of(rl).spread(rl["advantages_C"]) < 0
    for side in (worse_N, ~worse_N):
        assert min(ratio_N[side].tolist()) < 0.8
        assert max(ratio_N[side].tolist()) > 1.5
        assert ((ratio_N[side] > 0.8) & (ratio_N[side] < 1.2)).any()
    assert ((ratio_N > 1.2) & (ratio_N < 1.28) & ~worse_N).any()


def test_gspos_loss_is_trls(rl: dict[str, Tensor]) -> None:
    completions = completions_of(rl)

    def loss(logp_N: Tensor) -> Tensor:
        return clipped_surrogate(mean_log_ratio(logp_N - rl["old_N"], completions), rl["advantages_C"], 0.2, 0.1).mean()

    check("gspo", rl["logp_N"], rl, loss)


def test_rloos_loss_is_trls(rl: dict[str, Tensor]) -> None:
    completions = completions_of(rl)

    def loss(logp_N: Tensor) -> Tensor:
        return clipped_surrogate(completions.sum(logp_N - rl["old_N"]), rl["advantages_C"], 0.2, 0.2).mean()

    check("rloo", rl["logp_N"], rl, loss)


def importance(name: str, frozen: dict[str, Tensor]) -> Tensor:
    completions = completions_of(frozen)
    ratio = engine_log_ratio(frozen["old_N"], frozen["sampled_N"])
    if name.startswith("sequence"):
        ratio = completions.sum(ratio)
    weight = truncated_importance(ratio, 1.2) if name.endswith("truncate") else masked_importance(ratio, 0.6, 1.2)
    return completions.spread(weight) if name.startswith("sequence") else weight


@pytest.mark.parametrize("name", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
def test_importance_weights_are_verls_and_weigh_as_trl_weighs(
    name: str, rl: dict[str, Tensor], ppo: dict[str, Tensor]
) -> None:
    assert rl["sampled_N"].isnan().any()
    weight_N = importance(name, rl)
    close(weight_N, ppo[f"verl.{name}_N"])
    completions = completions_of(rl)
    advantages_N = completions.spread(rl["advantages_C"])

    def loss(logp_N: Tensor) -> Tensor:
        losses_N = clipped_surrogate(logp_N - rl["old_N"], advantages_N, 0.2, 0.2)
        return batch_loss(losses_N * weight_N, completion_mean(completions))

    check(name, rl["logp_N"], rl, loss)


@pytest.mark.parametrize(
    ("name", "advantages"),
    [
        ("group", partial(grpo_advantages, epsilon=1e-4)),
        ("batch", partial(batch_std_advantages, epsilon=1e-4)),
        ("centred", dr_grpo_advantages),
        ("rloo", rloo_advantages),
    ],
)
def test_advantages_with_unscored_completions_are_trls(
    name: str, advantages: Callable[[Tensor, Segments], Tensor], rl: dict[str, Tensor]
) -> None:
    assert rl["rewards_C"].isnan().sum() == 3
    close(advantages(rl["rewards_C"], groups_of(rl)), rl[f"advantages.{name}_C"])


def test_rloo_with_clipped_rewards_and_kl_is_trls(rl: dict[str, Tensor]) -> None:
    completions = Segments(rl["rloo_kl.lengths_C"])
    kl_C = completions.sum(k1(rl["rloo_kl.old_N"], rl["rloo_kl.reference_N"]))
    rewards_C = clip_scores(rl["rewards_C"], -0.5, 0.7) - 0.2 * kl_C
    close(rloo_advantages(rewards_C, groups_of(rl)), rl["advantages.rloo_kl_C"])
    # The same from rewards per token, which PPO and REINFORCE++ take.
    keep_N = scored_tokens(rl["rewards_C"], completions)
    kl_N = k1(rl["rloo_kl.old_N"], rl["rloo_kl.reference_N"])
    tokens_N = token_rewards(clip_scores(rl["rewards_C"], -0.5, 0.7), kl_N, 0.2, completions, keep_N)
    scored_C = ~rl["rewards_C"].isnan()
    close(completions.sum(tokens_N)[scored_C], rewards_C[scored_C])


@pytest.mark.parametrize(
    ("name", "advantages"),
    [
        ("verl.grpo", partial(grpo_advantages, epsilon=1e-6)),
        ("verl.dr_grpo", dr_grpo_advantages),
        ("verl.rloo", rloo_advantages),
        ("openrlhf.group_norm", partial(grpo_advantages, epsilon=1e-9)),
        ("openrlhf.dr_grpo", dr_grpo_advantages),
        ("openrlhf.rloo", rloo_advantages),
    ],
)
def test_group_advantages_are_verls_and_openrlhfs(
    name: str, advantages: Callable[[Tensor, Segments], Tensor], ppo: dict[str, Tensor]
) -> None:
    close(advantages(ppo["scores_C"], groups_of(ppo)), ppo[f"{name}_C"])


def test_gae_and_whitening_are_trls_and_openrlhfs(ppo: dict[str, Tensor]) -> None:
    completions = completions_of(ppo)
    advantages_N, returns_N = gae(ppo["rewards_N"], ppo["values_N"], completions, GAMMA, LAM)
    close(advantages_N, ppo["openrlhf.gae_N"])
    close(returns_N, ppo["openrlhf.returns_N"])
    close(returns_N, ppo["trl.returns_N"])
    close(whiten(advantages_N), ppo["trl.advantages_N"])
    close(whiten(ppo["rewards_N"]), ppo["trl.whitened_N"])
    close(whiten(ppo["rewards_N"], shift_mean=False), ppo["trl.scaled_N"])


def test_gae_over_tokens_of_others_is_verls(ppo: dict[str, Tensor]) -> None:
    keep_N = ppo["written_N"].bool()
    assert not keep_N.all()
    completions = completions_of(ppo)
    advantages_N, returns_N = gae(ppo["rewards_N"], ppo["values_N"], completions, GAMMA, LAM, keep_N)
    close(returns_N, ppo["verl.returns_N"])
    close(whiten(advantages_N, keep_N), ppo["verl.gae_N"])


def test_reinforce_pp_is_verls_and_openrlhfs(ppo: dict[str, Tensor]) -> None:
    completions, keep_N = completions_of(ppo), ppo["written_N"].bool()
    got_N = reinforce_pp_advantages(ppo["rewards_N"], completions, GAMMA, keep_N)
    close(got_N, ppo["verl.reinforce_pp_N"])
    rewards_N = token_rewards(ppo["scores_C"], k1(ppo["old_N"], ppo["reference_N"]), BETA, completions)
    close(reinforce_pp_advantages(rewards_N, completions, GAMMA, unbiased=False), ppo["openrlhf.reinforce_N"])


def test_token_rewards_are_trls_and_openrlhfs(ppo: dict[str, Tensor]) -> None:
    completions = completions_of(ppo)
    for name, estimator in (("k1", k1), ("k2", k2)):
        kl_N = estimator(ppo["old_N"], ppo["reference_N"])
        close(token_rewards(ppo["scores_C"], kl_N, BETA, completions), ppo[f"trl.rewards_{name}_N"])
    clipped_C = clip_scores(ppo["scores_C"], -0.5, 0.7)
    assert (clipped_C != ppo["scores_C"]).any()
    kl_N = k1(ppo["old_N"], ppo["reference_N"])
    close(token_rewards(clipped_C, kl_N, BETA, completions), ppo["openrlhf.rewards_N"])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_kl_estimates_are_verls_and_openrlhfs(name: str, ppo: dict[str, Tensor]) -> None:
    leaf = ppo["logp_N"].clone().requires_grad_()
    kl_N = ESTIMATORS[name](leaf, ppo["reference_N"])
    kl_N.sum().backward()
    close(kl_N.detach(), ppo[f"verl.{name}_N"])
    close(kl_N.detach(), ppo[f"openrlhf.{name}_N"])
    close(leaf.grad, ppo[f"verl.{name}_gradient_N"])


def test_the_kl_control_is_trls(ppo: dict[str, Tensor]) -> None:
    control, betas = KlControl(0.2, target=6.0, horizon=1000), []
    for kl in (-3.0, 0.0, 5.7, 6.3, 40.0, 7.0):
        control = control.after(kl, 64)
        betas.append(control.beta)
    assert betas == pytest.approx(ppo["trl.betas"].tolist(), rel=1e-12)


def test_ppos_losses_are_trls(ppo: dict[str, Tensor]) -> None:
    completions = completions_of(ppo)
    mean = token_mean(completions)

    def policy(logp_N: Tensor) -> Tensor:
        return batch_loss(clipped_surrogate(logp_N - ppo["old_N"], ppo["advantages_N"], 0.2, 0.2), mean)

    check("trl.policy", ppo["logp_N"], ppo, policy)
    check(
        "trl.value",
        ppo["fresh_N"],
        ppo,
        lambda fresh_N: batch_loss(value_loss(fresh_N, ppo["values_N"], ppo["returns_N"], 0.3), mean),
    )


@pytest.mark.parametrize(
    ("name", "averaging"),
    [
        ("verl.dual_clip_token", token_mean),
        ("openrlhf.dual_clip", token_mean),
        ("verl.dual_clip_completion", completion_mean),
        ("verl.dual_clip_constant", partial(constant_length_mean, tokens=LONGEST)),
    ],
)
def test_dual_clips_with_masked_tokens_are_verls_and_openrlhfs(
    name: str, averaging: Averaging, ppo: dict[str, Tensor]
) -> None:
    completions, keep_N = completions_of(ppo), ppo["written_N"].bool()
    ratio_N = (ppo["logp_N"] - ppo["old_N"]).exp()
    assert ((ratio_N > 1.4) & (ppo["advantages_N"] < 0) & keep_N).any()

    def loss(logp_N: Tensor) -> Tensor:
        losses_N = clipped_surrogate(logp_N - ppo["old_N"], ppo["advantages_N"], 0.2, 0.28, dual_clip=1.4)
        return batch_loss(losses_N, averaging(completions, keep_N))

    check(name, ppo["logp_N"], ppo, loss)


@pytest.mark.parametrize("library", ["verl", "openrlhf"])
def test_gspo_and_value_losses_are_verls_and_openrlhfs(library: str, ppo: dict[str, Tensor]) -> None:
    completions, keep_N = completions_of(ppo), ppo["written_N"].bool()
    high = 0.28

    def gspo(logp_N: Tensor) -> Tensor:
        return clipped_surrogate(mean_log_ratio(logp_N - ppo["old_N"], completions), ppo["scores_C"], 0.2, high).mean()

    check(f"{library}.gspo", ppo["logp_N"], ppo, gspo)

    def value(fresh_N: Tensor) -> Tensor:
        losses_N = value_loss(fresh_N, ppo["values_N"], ppo["returns_N"], 0.3)
        return batch_loss(losses_N, token_mean(completions, keep_N))

    check(f"{library}.value", ppo["fresh_N"], ppo, value)
