"""The small head that both embedded judges have, and how it is trained: one hidden layer over features of a text."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from charter.judges.refusal import head_logits

HIDDEN, EPOCHS, BATCH, RATE, DECAY, DROP_IN, DROP, SMOOTH = 32, 14, 128, 2e-3, 0.02, 0.3, 0.3, 0.02


def fit(x_ND: Tensor, y_N: Tensor, weight_N: Tensor, seed: int, classes: int) -> dict[str, Tensor]:
    """Weights of the head: AdamW on label-smoothed cross-entropy with dropout on inputs and hidden units."""
    generator = torch.Generator().manual_seed(seed)
    mean, scale = x_ND.mean(0), x_ND.std(0).clamp_min(1e-3)
    z_ND = ((x_ND - mean) / scale).clamp(-6, 6)
    size = x_ND.shape[1]
    w1 = (torch.randn(HIDDEN, size, generator=generator) / size**0.5).requires_grad_()
    w2 = (torch.randn(classes, HIDDEN, generator=generator) / HIDDEN**0.5).requires_grad_()
    b1, b2 = torch.zeros(HIDDEN, requires_grad=True), torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.AdamW([w1, b1, w2, b2], lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(x_ND) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1)
    for _ in range(steps):
        pick = torch.randint(len(x_ND), (BATCH,), generator=generator)
        seen = z_ND[pick] * (torch.rand(BATCH, size, generator=generator) >= DROP_IN) / (1 - DROP_IN)
        hidden = F.gelu(seen @ w1.T + b1)
        hidden = hidden * (torch.rand(BATCH, HIDDEN, generator=generator) >= DROP) / (1 - DROP)
        losses = F.cross_entropy(hidden @ w2.T + b2, y_N[pick], reduction="none", label_smoothing=SMOOTH)
        optimiser.zero_grad()
        (losses * weight_N[pick]).mean().backward()
        optimiser.step()
        schedule.step()
    head = {"mean": mean, "scale": scale, "w1": w1, "b1": b1, "w2": w2, "b2": b2, "temperature": torch.ones(())}
    return {name: value.detach().contiguous() for name, value in head.items()}


def fit_several(
    x_ND: Tensor, y_N: Tensor, weight_N: Tensor, classes: int, seeds: range = range(4)
) -> dict[str, Tensor]:
    """Heads of several seeds as one wider head whose logits are their mean."""
    heads = [fit(x_ND, y_N, weight_N, seed, classes) for seed in seeds]
    return {
        **heads[0],
        "w1": torch.cat([head["w1"] for head in heads]),
        "b1": torch.cat([head["b1"] for head in heads]),
        "w2": torch.cat([head["w2"] for head in heads], dim=1) / len(heads),
        "b2": sum(head["b2"] for head in heads) / len(heads),
    }


def out_of_fold(
    x_ND: Tensor,
    y_N: Tensor,
    weight_N: Tensor,
    groups: list[str],
    classes: int,
    folds: int = 4,
    seeds: range = range(4),
) -> Tensor:
    """Logits of each row from a head that saw no row of its group, shape (N, classes)."""
    fold_N = torch.tensor([int(hashlib.sha256(group.encode()).hexdigest(), 16) % folds for group in groups])
    logits = torch.zeros(len(x_ND), classes)
    for fold in range(folds):
        rest = fold_N != fold
        logits[~rest] = head_logits(fit_several(x_ND[rest], y_N[rest], weight_N[rest], classes, seeds), x_ND[~rest])
    return logits


def best_temperature(logits: Tensor, y_N: Tensor, weight_N: Tensor) -> float:
    """The temperature with the least weighted log-loss on out-of-fold logits (Guo et al. 2017), on a grid."""
    grid = [0.5 + 0.05 * i for i in range(60)]
    return min(grid, key=lambda t: float((F.cross_entropy(logits / t, y_N, reduction="none") * weight_N).sum()))


def expected_calibration_error(chance_N: Tensor, event_N: Tensor, bins: int = 10) -> float:
    """Mean |frequency - mean chance| over equal-width bins, weighted by size."""
    place = (chance_N * bins).long().clamp(max=bins - 1)
    total = 0.0
    for b in range(bins):
        inside = place == b
        if inside.any():
            total += float(inside.float().mean() * (event_N[inside].float().mean() - chance_N[inside].mean()).abs())
    return total
