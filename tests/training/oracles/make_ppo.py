"""PPO and its kin as three libraries compute them, on random numbers, for `test_rl_oracles.py`.

RIVAL_PYTHON tests/training/oracles/make_ppo.py     (needs no charter)

The environment: torch 2.13.0; trl 0.11.4 (the last whose PPO has its steps as methods), verl 0.9.1 and openrlhf 0.11.2,
these three with --no-deps; transformers 4.45.2, accelerate, datasets, "huggingface_hub<1", "numpy>=2", rich, omegaconf,
"tensordict<=0.10", cloudpickle, orjson, pyvers. What else they import and the functions called here never use (ray,
deepspeed, …) is stood in for by empty modules.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
import trl
from safetensors.torch import load_file, save_file
from torch import Tensor
from trl.core import entropy_from_logits, masked_whiten
from trl.trainer.ppo_trainer import PPOTrainer
from trl.trainer.utils import AdaptiveKLController


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that are imported and not used."""

    names = frozenset(
        ["bitsandbytes", "codetiming", "deepspeed", "flash_attn", "hydra", "optree", "peft", "ray", "torchdata", "vllm"]
    )

    def find_spec(self, name: str, *_: Any) -> Any:
        known = name.split(".")[0] in self.names or name.startswith("openrlhf.trainer.ray")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> Any:
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda _: MagicMock()  # type: ignore[method-assign]
        return module

    def exec_module(self, module: Any) -> None:
        """Nothing to run."""


sys.meta_path.insert(0, Absent())
# Their packages import models of every kind; the modules that are needed do not.
root = importlib.util.find_spec("openrlhf").submodule_search_locations[0]
for name in ("", ".models", ".trainer", ".trainer.ppo_utils", ".utils"):
    package = types.ModuleType(f"openrlhf{name}")
    package.__path__ = [str(Path(root, *name.split(".")))]
    sys.modules[f"openrlhf{name}"] = package

from openrlhf.models.loss import PolicyLoss, ValueLoss  # noqa: E402
from openrlhf.models.utils import compute_approx_kl, compute_reward  # noqa: E402
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker  # noqa: E402
from verl.trainer.ppo import core_algos  # noqa: E402
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights  # noqa: E402
from verl.workers.config import ActorConfig  # noqa: E402

GAMMA, LAM, BETA, GROUP = 0.97, 0.9, 0.15, 4
torch.set_num_threads(1)
drawn = torch.Generator().manual_seed(41)
# The same completions and log-probs as GRPO's.
shared = load_file(Path(__file__).with_name("rl.safetensors"))
lengths_C = shared["lengths_C"]
count, longest, tokens = len(lengths_C), int(lengths_C.max()), int(lengths_C.sum())
mask_CL = (torch.arange(longest) < lengths_C[:, None]).long()
values_N, fresh_N = torch.randn(2, tokens, generator=drawn)
rewards_N = torch.randn(tokens, generator=drawn)
advantages_N = torch.randn(tokens, generator=drawn)
returns_N = values_N + torch.randn(tokens, generator=drawn)
scores_C = torch.randn(count, generator=drawn)
logits_NV = 2 * torch.randn(tokens, 7, generator=drawn)
# Tokens that somebody else wrote, inside and at the ends; each completion keeps one at least.
written_N = torch.rand(tokens, generator=drawn) < 0.7
written_N[lengths_C.cumsum(0) - lengths_C] = True
saved: dict[str, Tensor] = {
    "values_N": values_N,
    "fresh_N": fresh_N,
    "rewards_N": rewards_N,
    "advantages_N": advantages_N,
    "returns_N": returns_N,
    "scores_C": scores_C,
    "logits_NV": logits_NV,
    "written_N": written_N,
}


def padded(values_N: Tensor, fill: float = -3.0) -> Tensor:
    """Completions as a table. Behind their ends stand numbers that would be seen if they were read."""
    return torch.full(mask_CL.shape, fill, dtype=values_N.dtype).masked_scatter(mask_CL.bool(), values_N)


def flat(table_CL: Tensor) -> Tensor:
    return table_CL[mask_CL.bool()]


written_CL = padded(written_N.float(), 0.0)
logp, old, reference, sampled = (padded(shared[f"{x}_N"]) for x in ("logp", "old", "reference", "sampled"))
values, rewards, returns, advantages = map(padded, (values_N, rewards_N, returns_N, advantages_N))


def with_gradient(name: str, leaf_N: Tensor, loss: Any) -> None:
    """Freeze a loss of the padded leaf and its gradient."""
    leaf = leaf_N.clone().requires_grad_()
    value = loss(padded(leaf))
    value.backward()
    saved[f"{name}.loss"], saved[f"{name}.gradient_N"] = value.detach()[None], leaf.grad


# TRL
ppo = object.__new__(PPOTrainer)
ppo.kl_ctl = SimpleNamespace(value=BETA)
ppo.config = SimpleNamespace(
    kl_penalty="kl",
    whiten_rewards=False,
    gamma=GAMMA,
    lam=LAM,
    cliprange=0.2,
    cliprange_value=0.3,
    vf_coef=1.0,
    ratio_threshold=100.0,
)
for penalty, name in (("kl", "k1"), ("mse", "k2")):
    ppo.config.kl_penalty = penalty
    saved[f"trl.rewards_{name}_N"] = flat(ppo.compute_rewards(scores_C, old, reference, mask_CL)[0])
_, whitened, gained = ppo.compute_advantages(values, rewards, mask_CL)
saved["trl.advantages_N"], saved["trl.returns_N"] = flat(whitened), flat(gained)
saved["trl.whitened_N"] = flat(masked_whiten(rewards, mask_CL))
saved["trl.scaled_N"] = flat(masked_whiten(rewards, mask_CL, shift_mean=False))
some_logits = torch.zeros(*mask_CL.shape, 7)
fresh = padded(fresh_N)
with_gradient(
    "trl.policy",
    shared["logp_N"],
    lambda table: ppo.loss(old, values, some_logits, fresh, table, mask_CL, advantages, returns)[0],
)
with_gradient(
    "trl.value",
    fresh_N,
    lambda table: ppo.loss(old, values, some_logits, table, logp, mask_CL, advantages, returns)[1],
)
logits = logits_NV.clone().requires_grad_()
entropy_N = entropy_from_logits(logits)
(entropy_N * advantages_N).sum().backward()
saved["trl.entropy_N"], saved["trl.entropy_gradient_NV"] = entropy_N.detach(), logits.grad
control = AdaptiveKLController(0.2, 6.0, 1000)
steps = []
for kl in (-3.0, 0.0, 5.7, 6.3, 40.0, 7.0):
    control.update(kl, 64)
    steps.append(control.value)
saved["trl.betas"] = torch.tensor(steps, dtype=torch.float64)

# verl
index = np.repeat(np.arange(count // GROUP), GROUP)
outcome_CL = torch.zeros(mask_CL.shape)
outcome_CL[:, 0] = scores_C
algo = SimpleNamespace(gamma=GAMMA)
gained, target = core_algos.compute_gae_advantage_return(rewards, values, written_CL, GAMMA, LAM)
saved["verl.gae_N"], saved["verl.returns_N"] = flat(gained) * written_N, flat(target) * written_N
for name, scaled in (("grpo", True), ("dr_grpo", False)):
    table, _ = core_algos.compute_grpo_outcome_advantage(
        outcome_CL.clone(), mask_CL, index, norm_adv_by_std_in_grpo=scaled
    )
    saved[f"verl.{name}_C"] = table[:, 0]
saved["verl.rloo_C"] = core_algos.compute_rloo_outcome_advantage(outcome_CL.clone(), mask_CL, index)[0][:, 0]
table, _ = core_algos.compute_reinforce_plus_plus_outcome_advantage(rewards, written_CL, algo)
saved["verl.reinforce_pp_N"] = flat(table)
for name in ("k1", "k2", "k3"):
    leaf = shared["logp_N"].clone().requires_grad_()
    kl_N = core_algos.kl_penalty(leaf, shared["reference_N"], name)
    kl_N.sum().backward()
    saved[f"verl.{name}_N"], saved[f"verl.{name}_gradient_N"] = kl_N.detach(), leaf.grad
config = ActorConfig(
    strategy="fsdp",
    rollout_n=GROUP,
    ppo_micro_batch_size_per_gpu=1,
    clip_ratio_low=0.2,
    clip_ratio_high=0.28,
    clip_ratio_c=1.4,
)
MODES = {"token": "token-mean", "completion": "seq-mean-token-mean", "constant": "seq-mean-token-sum-norm"}
for name, mode in MODES.items():
    with_gradient(
        f"verl.dual_clip_{name}",
        shared["logp_N"],
        lambda table, mode=mode: core_algos.compute_policy_loss_vanilla(
            old, table, advantages, written_CL, mode, config
        )[0],
    )
spread = scores_C[:, None].expand(-1, longest)
with_gradient(
    "verl.gspo",
    shared["logp_N"],
    lambda table: core_algos.compute_policy_loss_gspo(old, table, spread, mask_CL, config=config)[0],
)
with_gradient(
    "verl.value",
    fresh_N,
    lambda table: core_algos.compute_value_loss(table, returns, values, written_CL, 0.3)[0],
)
engine = torch.nan_to_num(old - sampled)
for name, level, threshold in (
    ("token_truncate", "token", 1.2),
    ("token_mask", "token", "0.6_1.2"),
    ("sequence_truncate", "sequence", 1.2),
    ("sequence_mask", "sequence", "0.6_1.2"),
):
    weights, _ = compute_rollout_correction_weights(engine, mask_CL, level, threshold)
    saved[f"verl.{name}_N"] = flat(weights)

# OpenRLHF
for name in ("k1", "k2", "k3"):
    saved[f"openrlhf.{name}_N"] = compute_approx_kl(shared["logp_N"], shared["reference_N"], kl_estimator=name)
saved["openrlhf.rewards_N"] = flat(compute_reward(scores_C, BETA, old - reference, mask_CL, (-0.5, 0.7)))
with_gradient(
    "openrlhf.dual_clip",
    shared["logp_N"],
    lambda table: PolicyLoss(0.2, 0.28, dual_clip=1.4)(table, old, advantages, written_CL)[0],
)
with_gradient(
    "openrlhf.gspo",
    shared["logp_N"],
    lambda table: PolicyLoss(0.2, 0.28, policy_loss_type="gspo")(table, old, spread, mask_CL)[0],
)
with_gradient("openrlhf.value", fresh_N, lambda table: ValueLoss(0.3)(table, values, returns, written_CL))
gained, target = RemoteExperienceMaker.get_advantages_and_returns(None, values, rewards, mask_CL, GAMMA, LAM)
saved["openrlhf.gae_N"], saved["openrlhf.returns_N"] = flat(gained), flat(target)
for estimator in ("group_norm", "dr_grpo", "rloo", "reinforce"):
    maker = object.__new__(RemoteExperienceMaker)
    reinforce = estimator == "reinforce"
    advantage = SimpleNamespace(estimator=estimator, gamma=GAMMA if reinforce else 1.0, lambd=LAM, no_std_norm=False)
    maker.strategy = SimpleNamespace(
        args=SimpleNamespace(
            algo=SimpleNamespace(advantage=advantage),
            reward=SimpleNamespace(clip_range=None),
            rollout=SimpleNamespace(n_samples_per_prompt=GROUP),
        )
    )
    maker.advantage_estimator, maker.kl_ctl = estimator, SimpleNamespace(value=BETA if reinforce else 0.0)
    experience = SimpleNamespace(
        rewards=scores_C.clone(),
        index=list(range(count)),
        kl=old - reference,
        action_mask=mask_CL,
        values=None,
        info={},
    )
    maker.compute_advantages_and_returns([experience])
    table = experience.advantages
    saved[f"openrlhf.{estimator}_{'N' if reinforce else 'C'}"] = flat(table) if reinforce else table[:, 0]
save_file(
    {name: tensor.contiguous() for name, tensor in saved.items()},
    Path(__file__).with_name("ppo.safetensors"),
    {"made with": f"trl {trl.__version__}, verl 0.9.1, openrlhf 0.11.2, torch {torch.__version__}"},
)
for name, tensor in saved.items():
    print(name, tuple(tensor.shape), tensor.flatten()[:4].tolist())
