"""Fitting the guard's heads: a small network on embeddings, under torch; used through numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

KINDS = ("harm", "crime", "hate", "sexual", "violence", "self_harm", "jailbreak", "injection", "embedded")
HARM = KINDS[1:6]
HIDDEN, EPOCHS, BATCH, RATE, DECAY = 128, 6, 256, 3e-3, 0.05
DROP_IN, DROP, SMOOTH = 0.2, 0.4, 0.03


@dataclass(frozen=True)
class Windows:
    """Windows of texts: what the head reads of each, (W, D), and the number of the text that each is of, (W,)."""

    x: Tensor
    owner: Tensor

    def only(self, keep: Tensor) -> Windows:
        """The windows where `keep` is true; owners keep their numbers."""
        return Windows(self.x[keep], self.owner[keep])


def targets(category: str, soft: float) -> list[float]:
    """Target per kind for a row of that category; NaN where the row's one label does not tell."""
    if category == "":
        return [0.0] * len(KINDS)
    out = dict.fromkeys(KINDS, math.nan) | {category: soft}
    if category in HARM:
        out |= {"harm": soft, "injection": 0.0, "jailbreak": 0.0}
    return [out[kind] for kind in KINDS]


class Network(torch.nn.Module):
    """Standardised input, one hidden layer."""

    def __init__(self, mean: Tensor, scale: Tensor, kinds: int) -> None:
        super().__init__()
        self.mean, self.scale = mean, scale
        self.first, self.second = torch.nn.Linear(len(mean), HIDDEN), torch.nn.Linear(HIDDEN, kinds)

    def forward(self, x: Tensor) -> Tensor:
        z = F.dropout(((x - self.mean) / self.scale).clamp(-6, 6), DROP_IN, self.training)
        hidden = F.dropout(F.gelu(self.first(z), approximate="tanh"), DROP, self.training)
        found: Tensor = self.second(hidden)
        return found


def fit(found: Windows, y_WK: Tensor, weight_W: Tensor, seed: int) -> Network:
    """One network: AdamW on smoothed binary cross-entropy over the kinds that each row tells."""
    torch.manual_seed(seed)
    net = Network(found.x.mean(0), found.x.std(0).clamp_min(1e-3), y_WK.shape[1])
    batches = len(found.x) // BATCH
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=batches * EPOCHS + 1)
    known_WK = ~y_WK.isnan()
    smooth_WK = y_WK.nan_to_num(0) * (1 - 2 * SMOOTH) + SMOOTH
    for _ in range(EPOCHS):
        order = torch.randperm(len(found.x))
        for rows in order[: batches * BATCH].split(BATCH):
            loss = F.binary_cross_entropy_with_logits(net(found.x[rows]), smooth_WK[rows], reduction="none")
            optimiser.zero_grad()
            (loss * known_WK[rows] * weight_W[rows, None]).sum(1).mean().backward()
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def window_logits(nets: list[Network], found: Windows) -> Tensor:
    """Mean logits of the networks per window, shape (W, K)."""
    total: Tensor = torch.stack([net(found.x) for net in nets]).mean(0)
    return total


def text_logits(logits_WK: Tensor, owner_W: Tensor) -> Tensor:
    """The highest logit of each text's windows, shape (N, K)."""
    out = torch.full((int(owner_W.max()) + 1, logits_WK.shape[1]), -math.inf)
    return out.scatter_reduce(0, owner_W[:, None].expand_as(logits_WK), logits_WK, "amax")


def merged(nets: list[Network]) -> dict[str, np.ndarray]:
    """Several networks on the same rows as one wider one whose logits are their mean, in half precision."""
    parts = {
        "mean": nets[0].mean, "scale": nets[0].scale,
        "w1": torch.cat([net.first.weight for net in nets]), "b1": torch.cat([net.first.bias for net in nets]),
        "w2": torch.cat([net.second.weight for net in nets], 1) / len(nets),
        "b2": torch.stack([net.second.bias for net in nets]).mean(0),
    }  # fmt: skip
    return {name: value.detach().half().contiguous().numpy() for name, value in parts.items()}
