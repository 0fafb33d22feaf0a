"""Reward heads: linear reads of a model's last hidden state, kept in the same folder as the model or its adapter.

`reward_head.safetensors` holds the weights and `reward_head.json` what they are. They are written with the adapter (or
the whole model) in one folder that appears whole or not at all, so neither can be found without the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, get_args

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from charter.errors import UserError
from charter.models.loading import resolve

RewardKind = Literal["reward", "pointwise", "cost", "process"]
WEIGHTS: Final = "reward_head.safetensors"
CONFIG: Final = "reward_head.json"


Whole = Literal["min", "product", "mean", "last"]
"""How the scores of a completion's steps become its reward."""


@dataclass(frozen=True)
class StepForm:
    """How a process reward model reads a completion.

    separator: the text that ends every step.  chances: a step's score is the chance that it is right, the sigmoid of
    the head's value; otherwise it is the value in the units of `RewardHead.units`.
    """

    separator: str
    whole: Whole
    chances: bool


class RewardHead(nn.Module):
    """k linear heads of one model, in fp32 whatever the model's dtype.

    kind: what the heads were trained to say.  scale, shift: `units` gives scale · value + shift, the units of the
    scores that a regression was trained on.  steps: of the kind "process", how it reads a completion.
    """

    _no_split_modules: ClassVar = ["RewardHead"]
    """What shards a model gathers the heads by themselves: their dtype need not be the body's."""

    def __init__(
        self,
        weight_KD: Tensor,
        bias_K: Tensor | None,
        kind: RewardKind,
        scale: float = 1.0,
        shift: float = 0.0,
        steps: StepForm | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_KD.float())
        self.bias = None if bias_K is None else nn.Parameter(bias_K.float())
        self.kind, self.scale, self.shift, self.steps = kind, scale, shift, steps

    @property
    def heads(self) -> int:
        """How many there are."""
        return self.weight.shape[0]

    @property
    def width(self) -> int:
        """Size of the hidden states they read."""
        return self.weight.shape[1]

    def forward(self, hidden_RD: Tensor) -> Tensor:
        """Values (R, K), fp32, of hidden states."""
        return F.linear(hidden_RD.float(), self.weight, self.bias)

    def units(self, values_RK: Tensor) -> Tensor:
        """The heads' values in the units of the scores they learned from; of steps, chances where they are that."""
        if self.steps is not None and self.steps.chances:
            return values_RK.sigmoid()
        return values_RK * self.scale + self.shift

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write both files into an existing folder. state: the weights, where the module holds a part of each."""
        found = state or dict(self.named_parameters())
        tensors = {name: weight.detach().contiguous().cpu() for name, weight in found.items()}
        save_file(tensors, str(folder / WEIGHTS))
        config: dict[str, Any] = {"format": 1, "kind": self.kind, "heads": self.heads, "width": self.width}
        config |= {"bias": self.bias is not None, "scale": self.scale, "shift": self.shift}
        if self.steps is not None:
            config["steps"] = asdict(self.steps)
        (folder / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def new_head(width: int, heads: int, seed: int, kind: RewardKind, *, bias: bool) -> RewardHead:
    """Fresh heads: weights from N(0, 1 / (width + 1)), so that a normalised hidden state gives rewards of order one.

    The standard deviation is that of Stiennon et al. 2020 and Huang et al. 2024 (arXiv 2403.17031). Every head draws
    from a stream of its own: the first k heads of any number are the same. Biases start at zero.
    """
    rows = []
    for k in range(heads):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
        rows.append(torch.randn(width, generator=generator) / math.sqrt(width + 1))
    return RewardHead(torch.stack(rows), torch.zeros(heads) if bias else None, kind)


def find_head(name: str) -> RewardHead | None:
    """The head saved with a model, by its one-string name; None when it has none.

    Raises UserError when only one of the two files is there, or when they cannot be read or do not agree.
    """
    folder = resolve(name)
    if not isinstance(folder, Path):
        return None
    there = [file for file in (WEIGHTS, CONFIG) if (folder / file).exists()]
    if not there:
        return None
    if len(there) == 1:
        raise UserError(f"{folder}: holds {there[0]} without the other half of the reward head. Copy the whole folder.")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(str(folder / WEIGHTS))
        shape, kind = (int(config["heads"]), int(config["width"])), config["kind"]
        agree = tensors["weight"].shape == shape and config["bias"] == ("bias" in tensors)
        if not agree or kind not in get_args(RewardKind):
            raise ValueError("the configuration does not describe the weights")
        steps = StepForm(**config["steps"]) if kind == "process" else None
        if steps is not None and steps.whole not in get_args(Whole):
            raise ValueError(f'a completion\'s reward cannot be the "{steps.whole}" of its steps')
        scale, shift = float(config["scale"]), float(config["shift"])
        return RewardHead(tensors["weight"], tensors.get("bias"), kind, scale, shift, steps)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{folder}: its reward head cannot be read ({error}). Train it again.") from None


def need_head(name: str) -> RewardHead:
    """`find_head`, for when there must be one. Raises UserError when there is none."""
    head = find_head(name)
    if head is None:
        raise UserError(
            f'"{name}" is not a reward model: it has no {CONFIG}. Train one with `charter train reward`, and give the '
            "folder that it wrote (…/model)."
        )
    return head


def refuse_head(name: str) -> None:
    """Raises UserError for a reward model, by its one-string name: trained as a policy it would lose its head."""
    if find_head(name) is not None:
        raise UserError(
            f'"{name}" is a reward model (it holds {CONFIG}). A policy trained from it would be saved without its '
            "head, and its body was made to score answers, not to give them. Start from the model that it was trained "
            "from, or use a reward method, such as `reward`."
        )
