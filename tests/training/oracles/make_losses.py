"""TRL's own loss code on random log-probs: values and gradients, frozen for `test_oracles.py`.

RIVAL_PYTHON tests/training/oracles/make_losses.py     (an environment with TRL; needs no charter)

Each loss is taken pair by pair, so that a mean over a batch hides nothing. TRL has no loss with label smoothing on
log-ratios and no summed IPO in its DPO trainer; its CPO trainer has both formulas, and gets log-ratios here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import trl
from common import freeze
from torch import Tensor
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

PAIRS, LONGEST, PROMPT = 8, 12, 3
drawn = torch.Generator().manual_seed(11)
lengths_P2 = torch.randint(1, LONGEST + 1, (PAIRS, 2), generator=drawn)
lengths_P2[0] = torch.tensor([5, 5])
lengths_P2[1] = torch.tensor([1, LONGEST])
lengths_P2[2] = torch.tensor([LONGEST, 1])
tokens = int(lengths_P2.sum())
logp_N = -4 * torch.rand(tokens, generator=drawn)
reference_N = logp_N + 0.6 * torch.randn(tokens, generator=drawn)
kl_logp_C, kl_reference_C = -10 * torch.rand(2, 2 * PAIRS, generator=drawn)
desirable_C = torch.rand(2 * PAIRS, generator=drawn) < 0.5
saved: dict[str, Tensor] = {
    "lengths_P2": lengths_P2,
    "logp_N": logp_N,
    "reference_N": reference_N,
    "kl_logp_C": kl_logp_C,
    "kl_reference_C": kl_reference_C,
    "desirable_C": desirable_C,
}


def padded(parts: list[Tensor]) -> Tensor:
    """Completions as TRL's per-token table: zeros at the prompt's positions and behind the end."""
    return torch.stack([torch.cat([torch.zeros(PROMPT - 1), part, torch.zeros(LONGEST - len(part))]) for part in parts])


def mask_of(lengths: list[int]) -> Tensor:
    return torch.tensor([[0] * PROMPT + [1] * n + [0] * (LONGEST - n) for n in lengths])


class Model(torch.nn.Module):
    """Stands for a model whose log-probs are given."""

    is_gradient_checkpointing = False

    def __init__(self, table: Tensor | None = None) -> None:
        super().__init__()
        self.table = table

    def forward(self, **_: Any) -> Any:
        none = torch.zeros_like(self.table)
        return SimpleNamespace(log_probs=self.table, entropy=none, mean_logits=none, is_top1=none.bool())


def accelerator() -> Any:
    return SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)


class Anything(dict):
    def __missing__(self, key: str) -> Any:
        self[key] = Anything() if key in ("train", "eval") else []
        return self[key]


def trainer(kind: type, **values: Any) -> Any:
    """A trainer that was never built, with just what its loss reads."""
    made = object.__new__(kind)
    made.__dict__.update(accelerator=accelerator(), _metrics=Anything(), aux_loss_enabled=False, **values)
    made.__dict__.setdefault("model", Model())
    made.__dict__.update(_total_train_tokens=0, _tp_size=1)
    return made


def dpo(beta: float, kinds: list[str], weights: list[float], **values: Any) -> Callable[..., Tensor]:
    def loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
        made = trainer(
            trl.DPOTrainer,
            **{
                "beta": beta,
                "loss_types": kinds,
                "loss_weights": weights,
                "label_smoothing": 0.0,
                "ld_alpha": None,
                "f_divergence_type": "reverse_kl",
                "use_weighting": False,
                "precompute_ref_logps": False,
                "ref_model": Model(padded([ref_chosen, ref_rejected])),
                "args": SimpleNamespace(gradient_checkpointing_kwargs=None),
                **values,
            },
        )
        mask = mask_of([len(chosen), len(rejected)])
        inputs = {"input_ids": torch.ones_like(mask), "attention_mask": mask, "completion_mask": mask}
        return trl.DPOTrainer._compute_loss(made, Model(padded([chosen, rejected])), inputs, False)

    return loss


def cpo(kind: str, score: str, beta: float, smoothing: float = 0.0, gamma: float = 0.0) -> Callable[..., Tensor]:
    def loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
        made = trainer(CPOTrainer, beta=beta, loss_type=kind, label_smoothing=smoothing, simpo_gamma=gamma, alpha=0.0)
        if score == "mean":
            sides = chosen.mean()[None], rejected.mean()[None]
        else:
            sides = (chosen.sum() - ref_chosen.sum())[None], (rejected.sum() - ref_rejected.sum())[None]
        return CPOTrainer.cpo_loss(made, *sides)[0][0]

    return loss


def orpo(weight: float) -> Callable[..., Tensor]:
    def loss(chosen: Tensor, rejected: Tensor, *_: Tensor) -> Tensor:
        made = trainer(ORPOTrainer, beta=weight)
        ratio = ORPOTrainer.odds_ratio_loss(made, chosen.mean()[None], rejected.mean()[None])[0][0]
        return -chosen.mean() - ratio

    return loss


LOSSES: dict[str, Callable[..., Tensor]] = {
    "dpo": dpo(0.3, ["sigmoid"], [1.0]),
    "ld_dpo": dpo(0.3, ["sigmoid"], [1.0], ld_alpha=0.4),
    "dpo_sft": dpo(0.3, ["sigmoid", "sft"], [1.0, 0.5]),
    "robust_dpo": dpo(0.3, ["robust"], [1.0], label_smoothing=0.2),
    "ipo_mean": dpo(0.4, ["ipo"], [1.0]),
    "slic": dpo(0.9, ["hinge"], [1.0]),
    "cdpo": cpo("sigmoid", "ratio", 0.3, smoothing=0.2),
    "ipo": cpo("ipo", "ratio", 0.4),
    "simpo": cpo("simpo", "mean", 2.0, gamma=0.8),
    "orpo": orpo(0.25),
}
for name, loss in LOSSES.items():
    leaf = logp_N.clone().requires_grad_()
    sides = leaf.split(lengths_P2.flatten().tolist())
    reference = reference_N.split(lengths_P2.flatten().tolist())
    losses = torch.stack(
        [loss(sides[2 * p], sides[2 * p + 1], reference[2 * p], reference[2 * p + 1]).squeeze() for p in range(PAIRS)]
    )
    losses.sum().backward()
    saved[f"{name}.losses_P"], saved[f"{name}.gradient_N"] = losses.detach(), leaf.grad

# KTO's loss belongs to a batch: the 2P completions are one, each with a label of its own.
leaf = logp_N.clone().requires_grad_()
lengths = lengths_P2.flatten().tolist()
made = trainer(
    trl.KTOTrainer,
    beta=0.3,
    loss_type="kto",
    desirable_weight=1.3,
    undesirable_weight=0.7,
    calculate_KL=True,
    precompute_ref_logps=True,
    _compute_kl_logps=lambda *_: kl_logp_C,
)
mask = mask_of(lengths)
batch = {
    "input_ids": torch.ones_like(mask),
    "attention_mask": mask,
    "completion_mask": mask,
    "label": desirable_C,
    "ref_logps": torch.stack([part.sum() for part in reference_N.split(lengths)]),
    "ref_KL_logps": kl_reference_C,
}
value = trl.KTOTrainer._compute_loss(made, Model(padded(list(leaf.split(lengths)))), batch, False)
value.backward()
saved["kto.loss"], saved["kto.gradient_N"] = value.detach()[None], leaf.grad
freeze("losses", saved)
