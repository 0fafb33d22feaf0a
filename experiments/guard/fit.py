"""Fitting the guard's heads: a small network on embeddings and hashed n-grams, under torch; used through numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from charter.guard.features import BUCKETS, ngrams, shape

KINDS = ("harm", "crime", "hate", "sexual", "violence", "self_harm", "jailbreak", "injection", "embedded")
HARM = ("crime", "hate", "sexual", "violence", "self_harm")
HIDDEN, BAG, EPOCHS, BATCH, RATE, DECAY = 48, 16, 8, 128, 2e-3, 0.02
DROP_DENSE, DROP_BAG, DROP_HIDDEN, SMOOTH = 0.2, 0.5, 0.3, 0.03


@dataclass
class Features:
    """Windows of texts: embedding, padded n-gram buckets with their weight, shape; owner: the text of each window."""

    dense: Tensor
    buckets: list[Tensor]
    shape: Tensor
    owner: Tensor

    def __len__(self) -> int:
        return len(self.dense)

    def only(self, keep: Tensor) -> Features:
        """The windows where `keep` is true; owners keep their numbers."""
        buckets = [b for b, kept in zip(self.buckets, keep.tolist(), strict=True) if kept]
        return Features(self.dense[keep], buckets, self.shape[keep], self.owner[keep])


def features(embeddings: np.ndarray, texts: list[str], owner: list[int]) -> Features:
    return Features(
        torch.from_numpy(embeddings.astype(np.float32)),
        [torch.from_numpy(ngrams(text)) for text in texts],
        torch.from_numpy(np.stack([shape(text) for text in texts])),
        torch.tensor(owner),
    )


def targets(category: str, soft: float) -> list[float]:
    """Target per kind for a row of that category; NaN where the row's one label does not tell."""
    nan = math.nan
    if category == "":
        return [0.0] * len(KINDS)
    out = dict.fromkeys(KINDS, nan)
    if category in HARM:
        out |= {"harm": soft, category: soft, "injection": 0.0, "jailbreak": 0.0}
    elif category == "jailbreak":
        out |= {"jailbreak": soft}
    elif category == "injection":
        out |= {"injection": soft}
    else:
        out |= {"embedded": soft}
    return [out[kind] for kind in KINDS]


class Network(torch.nn.Module):
    def __init__(self, mean: Tensor, scale: Tensor, seed: int, shapes: int, kinds: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size = len(mean) + BAG + shapes
        self.mean, self.scale = mean, scale
        self.bag = torch.nn.Parameter(torch.zeros(BUCKETS, BAG))
        self.bag.data.normal_(0, 0.05, generator=generator)
        self.w1 = torch.nn.Parameter(torch.randn(HIDDEN, size, generator=generator) / size**0.5)
        self.b1 = torch.nn.Parameter(torch.zeros(HIDDEN))
        self.w2 = torch.nn.Parameter(torch.randn(kinds, HIDDEN, generator=generator) / HIDDEN**0.5)
        self.b2 = torch.nn.Parameter(torch.full((kinds,), -1.0))

    def forward(self, dense: Tensor, flat: Tensor, offsets: Tensor, counts: Tensor, shape_: Tensor) -> Tensor:
        z = ((dense - self.mean) / self.scale).clamp(-6, 6)
        bag = F.embedding_bag(flat, self.bag, offsets, mode="sum") / counts.clamp_min(1).sqrt()[:, None]
        if self.training:
            z = F.dropout(z, DROP_DENSE)
            bag = bag * (torch.rand(len(bag), 1) >= DROP_BAG)
        hidden = F.gelu(torch.cat([z, bag, shape_], 1) @ self.w1.T + self.b1, approximate="tanh")
        return F.dropout(hidden, DROP_HIDDEN, self.training) @ self.w2.T + self.b2


def packed(found: Features, rows: Tensor) -> tuple[Tensor, ...]:
    chosen = [found.buckets[i] for i in rows.tolist()]
    counts = torch.tensor([len(c) for c in chosen])
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)[:-1]])
    return found.dense[rows], torch.cat(chosen), offsets, counts.float(), found.shape[rows]


def fit(found: Features, y_NK: Tensor, weight_N: Tensor, seed: int) -> Network:
    """One network: AdamW on smoothed binary cross-entropy over the kinds that each row tells."""
    torch.manual_seed(seed)
    mean, scale = found.dense.mean(0), found.dense.std(0).clamp_min(1e-3)
    net = Network(mean, scale, seed, found.shape.shape[1], y_NK.shape[1])
    steps = EPOCHS * (len(found) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1)
    known_NK = ~y_NK.isnan()
    smooth_NK = y_NK.nan_to_num(0) * (1 - 2 * SMOOTH) + SMOOTH
    net.train()
    for step in range(steps):
        if step % (len(found) // BATCH) == 0:
            order = torch.randperm(len(found))
        rows = order[(step % (len(found) // BATCH)) * BATCH :][:BATCH]
        loss = F.binary_cross_entropy_with_logits(net(*packed(found, rows)), smooth_NK[rows], reduction="none")
        loss = (loss * known_NK[rows] * weight_N[rows, None]).sum(0) / len(rows)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def window_logits(nets: list[Network], found: Features) -> Tensor:
    """Mean logits of the networks per window, shape (W, K)."""
    chunks = torch.arange(len(found)).split(1024)
    return torch.cat([sum(net(*packed(found, rows)) for net in nets) / len(nets) for rows in chunks])


def text_logits(logits_WK: Tensor, owner_W: Tensor) -> Tensor:
    """The highest logit of each text's windows, shape (N, K)."""
    out = torch.full((int(owner_W.max()) + 1, logits_WK.shape[1]), -math.inf)
    return out.scatter_reduce(0, owner_W[:, None].expand_as(logits_WK), logits_WK, "amax")


def merged(nets: list[Network]) -> dict[str, np.ndarray]:
    """Several networks as one wider one whose logits are their mean. The bag becomes as wide as all together."""
    first = nets[0]
    shapes = first.w1.shape[1] - len(first.mean) - BAG
    w1 = torch.zeros(HIDDEN * len(nets), len(first.mean) + BAG * len(nets) + shapes)
    for i, net in enumerate(nets):
        rows = slice(i * HIDDEN, (i + 1) * HIDDEN)
        dense, bag, shape_ = net.w1.detach().split([len(first.mean), BAG, shapes], 1)
        w1[rows, : len(first.mean)] = dense
        w1[rows, len(first.mean) + i * BAG : len(first.mean) + (i + 1) * BAG] = bag
        w1[rows, -shapes:] = shape_
    parts = {
        "mean": first.mean, "scale": first.scale, "w1": w1, "b1": torch.cat([net.b1 for net in nets]),
        "w2": torch.cat([net.w2 for net in nets], 1) / len(nets), "b2": sum(net.b2 for net in nets) / len(nets),
        "bag": torch.cat([net.bag for net in nets], 1),
    }  # fmt: skip
    return {name: value.detach().half().contiguous().numpy() for name, value in parts.items()}
