"""TRL's GRPO and RLOO: whole losses on random log-probs, and advantages of its trainers, for `test_rl_oracles.py`.

RIVAL_PYTHON tests/training/oracles/make_rl.py     (an environment with TRL; needs no charter)

Losses are the trainers' own `_compute_loss` with log-probs given. Advantages come from whole trainers, which sample
from a tiny Llama; rewards are a table in which some are missing. TRL takes the importance ratio amid sampling with
vLLM: the ratio's formula is written out here, what is done with it is TRL's.
"""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import datasets
import torch
import trl
from common import freeze, llama, word_tokenizer
from torch import Tensor
from transformers import LlamaForCausalLM

GROUPS, SIZE, LONGEST = 4, 4, 9
COMPLETIONS = GROUPS * SIZE
torch.set_num_threads(1)
drawn = torch.Generator().manual_seed(31)
lengths_C = torch.randint(1, LONGEST + 1, (COMPLETIONS,), generator=drawn)
lengths_C[:3] = torch.tensor([1, LONGEST, 1])
tokens = int(lengths_C.sum())
# Ratios on both sides of every clip, and rewards of which one group has equal ones and three are missing.
logp_N = -4 * torch.rand(tokens, generator=drawn)
old_N = logp_N + 0.4 * torch.randn(tokens, generator=drawn)
reference_N = logp_N + 0.6 * torch.randn(tokens, generator=drawn)
sampled_N = old_N + 0.5 * torch.randn(tokens, generator=drawn)
sampled_N[4] = float("nan")
advantages_C = torch.randn(COMPLETIONS, generator=drawn)
rewards_C = torch.randn(COMPLETIONS, generator=drawn)
rewards_C[4:8] = 0.1
rewards_C[[0, 9, 10]] = float("nan")
saved: dict[str, Tensor] = {
    "lengths_C": lengths_C,
    "logp_N": logp_N,
    "old_N": old_N,
    "reference_N": reference_N,
    "sampled_N": sampled_N,
    "advantages_C": advantages_C,
    "rewards_C": rewards_C,
}
mask_CL = (torch.arange(LONGEST) < lengths_C[:, None]).long()


def padded(values_N: Tensor) -> Tensor:
    """Completions as a table. Behind their ends stand numbers that would be seen if they were read."""
    return torch.full(mask_CL.shape, -3.0).masked_scatter(mask_CL.bool(), values_N)


class Anything(dict):
    def __missing__(self, key: str) -> Any:
        self[key] = Anything() if key in ("train", "eval") else []
        return self[key]


def loss_of(kind: type, leaf_N: Tensor, inputs: dict[str, Tensor], **values: Any) -> Tensor:
    """The trainer's `_compute_loss`, of a trainer that was never built, with just what the loss reads."""
    made = object.__new__(kind)
    same: Any = SimpleNamespace(
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction: x,  # noqa: ARG005
        num_processes=1,
        sync_gradients=True,
    )
    table = padded(leaf_N)
    settings = {
        "delta": None,
        "use_bias_correction_kl": False,
        "steps_per_generation": 1,
    }
    made.__dict__.update(
        model=SimpleNamespace(training=True),
        accelerator=same,
        args=SimpleNamespace(**settings | values.pop("args", {})),
        _metrics=Anything(),
        aux_loss_enabled=False,
        _get_per_token_logps_and_entropies=lambda *_, **__: (table, torch.zeros_like(table), None),
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        max_completion_length=LONGEST + 3,
        **{
            "importance_sampling_level": "token",
            "beta": 0.0,
            "epsilon_low": 0.2,
            "epsilon_high": 0.2,
            "use_vllm": False,
            "vllm_importance_sampling_correction": False,
            **values,
        },
    )
    given = {
        "prompt_ids": torch.zeros(COMPLETIONS, 2).long(),
        "prompt_mask": torch.ones(COMPLETIONS, 2).long(),
        "completion_ids": torch.zeros_like(mask_CL),
        "completion_mask": mask_CL,
        "advantages": advantages_C,
        "num_items_in_batch": mask_CL.sum(),
        "old_per_token_logps": padded(old_N),
        "ref_per_token_logps": padded(reference_N),
        "old_logps": (padded(old_N) * mask_CL).sum(1),
    }
    return kind._compute_loss(made, None, given | inputs)


# As `_generate_and_score_completions` has it.
difference_CL = torch.nan_to_num((padded(old_N) - padded(sampled_N)) * mask_CL, nan=0.0)
ratio_CL, ratio_C1 = difference_CL.exp(), difference_CL.sum(1, keepdim=True).exp()
corrected = {"use_vllm": True, "vllm_importance_sampling_correction": True, "loss_type": "grpo"}
saved["importance_C"] = ratio_C1[:, 0]
CASES: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {
    "grpo": ({}, {"loss_type": "grpo"}),
    "grpo_kl": ({}, {"loss_type": "grpo", "beta": 0.3}),
    "dapo": ({}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    "dr_grpo": ({}, {"loss_type": "dr_grpo"}),
    "bnpo": ({}, {"loss_type": "bnpo"}),
    "two_sided": ({}, {"loss_type": "grpo", "args": {"delta": 1.5}}),
    "gspo": ({}, {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_high": 0.1}),
    "token_truncate": ({"importance_sampling_ratio": ratio_CL.clamp(max=1.2)}, corrected),
    "token_mask": ({"importance_sampling_ratio": ratio_CL.where((ratio_CL >= 0.6) & (ratio_CL <= 1.2), 0)}, corrected),
    "sequence_truncate": ({"importance_sampling_ratio": ratio_C1.clamp(max=1.2)}, corrected),
    "sequence_mask": (
        {"importance_sampling_ratio": ratio_C1.where((ratio_C1 >= 0.6) & (ratio_C1 <= 1.2), 0)},
        corrected,
    ),
}
for name, (inputs, values) in CASES.items():
    leaf = logp_N.clone().requires_grad_()
    loss = loss_of(trl.GRPOTrainer, leaf, inputs, **values)
    loss.backward()
    saved[f"{name}.loss"], saved[f"{name}.gradient_N"] = loss.detach()[None], leaf.grad
leaf = logp_N.clone().requires_grad_()
loss = loss_of(trl.RLOOTrainer, leaf, {})
loss.backward()
saved["rloo.loss"], saved["rloo.gradient_N"] = loss.detach()[None], leaf.grad

tokenizer = word_tokenizer(30)
config = llama(30, num_hidden_layers=1, num_key_value_heads=2)
torch.manual_seed(5)
start = LlamaForCausalLM(config).float()
folder = tempfile.mkdtemp()
start.save_pretrained(folder)


def advantages_of(trainer: type, arguments: type, **values: Any) -> dict[str, Tensor]:
    """What a trainer makes of the table of rewards in its first step, before it shuffles."""
    seen: dict[str, Tensor] = {}
    logps: list[Tensor] = []

    class Watched(trainer):  # type: ignore[misc, valid-type]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            logps.clear()
            output = super()._generate_and_score_completions(inputs)
            seen.update(advantages=output["advantages"], mask=output["completion_mask"])
            return output

        def _get_per_token_logps_and_entropies(self, *args: Any, **more: Any) -> Any:
            found = super()._get_per_token_logps_and_entropies(*args, **more)
            logps.append(found[0].detach())
            if len(logps) <= 2:
                seen[("old", "reference")[len(logps) - 1]] = found[0].detach()
            return found

    made = Watched(
        model=folder,
        args=arguments(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=COMPLETIONS,
            num_generations=SIZE,
            max_completion_length=LONGEST,
            max_steps=1,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
            **values,
        ),
        reward_funcs=lambda **_: [None if r != r else r for r in rewards_C.tolist()],
        train_dataset=datasets.Dataset.from_list([{"prompt": f"w{i} w{i + 3}"} for i in range(GROUPS)]),
        processing_class=tokenizer,
    )
    if getattr(made, "ref_model", None) is not None:
        with torch.no_grad():  # else policy and reference are the same, and the penalty is zero
            for weight in made.ref_model.parameters():
                weight.add_(0.3 * torch.randn(weight.shape, generator=drawn))
    made.train()
    return seen


for name, scale in [("group", "group"), ("batch", "batch"), ("centred", "none")]:
    saved[f"advantages.{name}_C"] = advantages_of(trl.GRPOTrainer, trl.GRPOConfig, scale_rewards=scale, beta=0.0)[
        "advantages"
    ]
plain = {"beta": 0.0, "normalize_advantages": False}
saved["advantages.rloo_C"] = advantages_of(trl.RLOOTrainer, trl.RLOOConfig, **plain)["advantages"]
penalised = advantages_of(
    trl.RLOOTrainer, trl.RLOOConfig, beta=0.2, normalize_advantages=False, reward_clip_range=(-0.5, 0.7)
)
kept = penalised["mask"].bool()
saved["advantages.rloo_kl_C"] = penalised["advantages"]
saved["rloo_kl.lengths_C"] = kept.sum(1)
saved["rloo_kl.old_N"], saved["rloo_kl.reference_N"] = penalised["old"][kept], penalised["reference"][kept]
freeze("rl", saved)
