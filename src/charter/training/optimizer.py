"""AdamW on fp32 master copies, with fp32 gradient accumulation, for weights that live in bf16.

bf16 keeps 8 bits of mantissa: an update of lr 1e-5 to a weight near 1 would round away, and so would small gradients
added to a large sum. Masters and sums are fp32; the bf16 weights are re-cast from them after each step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from charter.models.extras import require
from charter.training.devices import Devices, local

Schedule = Literal["linear", "cosine", "constant"]
Kind = Literal["adamw", "adamw_8bit"]


class MasterAdamW:
    """AdamW (Loshchilov and Hutter 2019) over `parameters`, in the order given; of sharded ones, over the own part.

    kind "adamw_8bit" keeps the moments of tensors of 4,096 values or more in 8 bits, scaled by block (Dettmers et al.
    2022, arXiv 2110.02861), through bitsandbytes; the masters stay fp32. Raises UserError when it is not installed.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        kind: Kind = "adamw",
        devices: Devices = Devices(),
    ) -> None:
        self.parameters = list(parameters)
        self._devices = devices
        # A copy even for fp32 weights: one code path, and the sum of gradients never aliases `.grad`.
        self.masters = [nn.Parameter(local(p).detach().float().clone()) for p in self.parameters]
        make: Any = torch.optim.AdamW if kind == "adamw" else eight_bit().optim.AdamW8bit
        self._adam = make(self.masters, lr=0.0, betas=betas, eps=eps, weight_decay=weight_decay)

    def accumulate(self) -> None:
        """Move the gradients of one backward pass into the fp32 sums."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter.grad is None:
                continue
            grad = local(parameter.grad)
            if master.grad is None:
                master.grad = grad.float()
            else:
                master.grad += grad
            parameter.grad = None

    def step(self, lr: float, max_grad_norm: float) -> float:
        """Clip the summed gradients to `max_grad_norm` (global 2-norm), update, re-cast. Returns the norm before."""
        own = torch.nn.utils.get_total_norm([m.grad for m in self.masters if m.grad is not None])
        norm = self._devices.norm(own)
        torch.nn.utils.clip_grads_with_norm_(self.masters, max_grad_norm, norm)
        for group in self._adam.param_groups:
            group["lr"] = lr
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.cast()
        return float(norm)

    @torch.no_grad()
    def cast(self) -> None:
        """Write the masters into the model's weights."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            local(parameter).copy_(master)

    def tensors(self) -> dict[str, Tensor]:
        """Masters and moments by name, for a checkpoint."""
        saved: dict[str, Tensor] = {}
        for index, master in enumerate(self.masters):
            saved[f"{index}.master"] = master.detach()
            for name, value in self._adam.state.get(master, {}).items():
                # bitsandbytes counts its steps in an int, and all its states share their tables of levels.
                saved[f"{index}.{name}"] = value.clone() if torch.is_tensor(value) else torch.tensor(value)
        return saved

    def load(self, saved: dict[str, Tensor]) -> None:
        """Restore what `tensors` gave, and the model's weights with it."""
        with torch.no_grad():
            for index, master in enumerate(self.masters):
                master.copy_(saved[f"{index}.master"])
                start = f"{index}."
                names = [name.removeprefix(start) for name in saved if name.startswith(start)]
                state = {name: self._restored(name, saved[start + name], master) for name in names if name != "master"}
                if state:
                    self._adam.state[master] = state
        self.cast()

    def _restored(self, name: str, value: Tensor, master: Tensor) -> Tensor | int:
        if name != "step":
            return value.to(master.device, copy=True)
        # torch keeps the count of steps on the processor, wherever the weights are.
        return value.clone() if isinstance(self._adam, torch.optim.AdamW) else int(value)


def eight_bit() -> Any:
    """The library of the 8-bit moments. Raises UserError when it is not installed."""
    return require("bitsandbytes", "`optimizer: adamw_8bit`")


class Optimizers:
    """A MasterAdamW for each part of what is trained, each with moments and a gradient norm of its own.

    parts: (prefix of its names in a checkpoint, factor of the learning rate, weights); no two prefixes are equal.
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, float, Sequence[nn.Parameter]]],
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        kind: Kind = "adamw",
        devices: Devices = Devices(),
    ) -> None:
        how: dict[str, Any] = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "kind": kind}
        self._parts = [(prefix, factor, MasterAdamW(own, **how, devices=devices)) for prefix, factor, own in parts]

    def accumulate(self) -> None:
        """Move the gradients of one backward pass into the fp32 sums."""
        for _, _, one in self._parts:
            one.accumulate()

    def step(self, lr: float, max_grad_norm: float) -> float:
        """Clip each part to `max_grad_norm`, update, re-cast. Returns the first part's norm before."""
        norms = [one.step(lr * factor, max_grad_norm) for _, factor, one in self._parts]
        return norms[0]

    def tensors(self) -> dict[str, Tensor]:
        """Masters and moments of all, for a checkpoint."""
        return {prefix + name: value for prefix, _, one in self._parts for name, value in one.tensors().items()}

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        for prefix, _, one in self._parts:
            one.load({name[len(prefix) :]: value for name, value in saved.items() if name.startswith(prefix)})


def learning_rate(step: int, total: int, peak: float, warmup: float, schedule: Schedule) -> float:
    """Learning rate of step `step` (from 0) of `total`: linear warm-up over `warmup` of the steps, then decay to 0."""
    rising = math.ceil(total * warmup)
    if step < rising:
        return peak * (step + 1) / rising
    share = (step - rising) / max(total - rising, 1)
    if schedule == "linear":
        return peak * (1 - share)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * share))
    return peak
