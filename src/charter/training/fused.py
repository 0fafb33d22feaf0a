"""Layers of a model exchanged, during a forward pass, for ones that make fewer passes over memory.

Two forms are known: peft's LoRA linear (with its adapter's product added into the base's result in place, and a
backward pass of matrix products alone) and RMS normalisation. A layer is exchanged only when it is exactly of a known
form and its frozen weights need no gradient; a normalisation must also give what the original gives on a probe. The
exchanged layers share the originals' tensors, and the model is as it was when the block ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class Exchange:
    """`parent.name` is `original`, and `fused` while training runs."""

    parent: nn.Module
    name: str
    original: nn.Module
    fused: nn.Module


def exchanges(model: nn.Module) -> list[Exchange]:
    """What can be exchanged in `model`, in its present mode and with its present adapters."""
    found: list[Exchange] = []
    for parent in model.modules():
        for name, child in parent.named_children():
            fused = _fused_lora(child) or _fused_norm(child)
            if fused is not None:
                found.append(Exchange(parent, name, child, fused))
    return found


@contextlib.contextmanager
def exchanged(known: list[Exchange]) -> Iterator[None]:
    """Within the block, the fused layers stand in the model, but for those that an adapter switched off, merged or
    unfrozen since would make wrong."""
    layers = [layer for layer in known if _still_right(layer)]
    for layer in layers:
        layer.parent._modules[layer.name] = layer.fused
    try:
        yield
    finally:
        for layer in layers:
            layer.parent._modules[layer.name] = layer.original


class FusedLora(nn.Module):
    """y = x W^T + b + scale · (x A^T) B^T, where only A and B (and x) have gradients."""

    base: nn.Linear
    a: nn.Linear
    b: nn.Linear

    def __init__(self, base: nn.Linear, a: nn.Linear, b: nn.Linear, scale: float) -> None:
        super().__init__()
        # Layers, not their weights, and out of the module tree: FSDP2 changes the weights around each forward.
        self.__dict__.update(base=base, a=a, b=b)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) → (..., out)."""
        base = self.base
        y: Tensor = _LoraProduct.apply(x, base.weight, base.bias, self.a.weight, self.b.weight, self.scale)
        return y


class FusedRMSNorm(nn.Module):
    """y = w · x / rms(x), statistics in fp32, w frozen, of `layer` (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    layer: Any

    def __init__(self, layer: nn.Module, eps: float) -> None:
        super().__init__()
        self.__dict__["layer"] = layer
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → the same shape."""
        y: Tensor = _RMSNorm.apply(x, self.layer.weight, self.eps)
        return y


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = (flat @ a.t()).mul_(scale)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale = scale
        return F.linear(flat, weight, bias).addmm_(low, b.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        flat, weight, a, b, low = ctx.saved_tensors
        shape = grads[0].shape
        grad = grads[0].reshape(-1, shape[-1])
        grad_low = (grad @ b).mul_(ctx.scale)
        grad_x = (grad @ weight).addmm_(grad_low, a).view(*shape[:-1], -1) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_low.t() @ flat, grad.t() @ low, None


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        whole = x.to(torch.float32, copy=True)
        norm = torch.linalg.vector_norm(whole, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = whole.mul_(inverse).to(x.dtype)
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        unit, inverse, weight = ctx.saved_tensors
        grad = (grads[0] * weight).float()
        unit = unit.float()
        along = torch.linalg.vecdot(grad, unit).div_(-unit.shape[-1])[..., None]
        return grad.addcmul_(unit, along).mul_(inverse).to(grads[0].dtype), None, None


def _lora_parts(layer: nn.Module) -> tuple[Any, Any, Any, float] | None:
    """(base, A, B, scale) when the layer computes just FusedLora's formula and only A and B are trained."""
    from peft.tuners.lora.layer import Linear as LoraLinear

    if type(layer) is not LoraLinear or layer.merged or layer.disable_adapters or len(layer.active_adapters) != 1:
        return None
    (name,) = layer.active_adapters
    base = layer.base_layer
    if type(base) is not nn.Linear or name not in layer.lora_A or name in layer.lora_variant:
        return None
    a, b = layer.lora_A[name], layer.lora_B[name]
    drops = not isinstance(layer.lora_dropout[name], nn.Identity)
    frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
    same_type = base.weight.dtype == a.weight.dtype == b.weight.dtype
    plain = all(map(_is_plain, (base.weight, a.weight, b.weight))) and a.bias is b.bias is None
    if drops or not frozen or not same_type or not plain or _has_hooks(layer, base, a, b):
        return None
    return base, a, b, float(layer.scaling[name])


def _fused_lora(layer: nn.Module) -> nn.Module | None:
    parts = _lora_parts(layer)
    return FusedLora(*parts) if parts else None


def _still_right(layer: Exchange) -> bool:
    if isinstance(layer.fused, FusedLora):
        parts = _lora_parts(layer.original)
        return parts is not None and parts[1] is layer.fused.a and parts[3] == layer.fused.scale
    return not any(p.requires_grad for p in layer.original.parameters())


@torch.no_grad()
def _fused_norm(layer: nn.Module) -> nn.Module | None:
    weight = getattr(layer, "weight", None)
    eps = getattr(layer, "variance_epsilon", getattr(layer, "eps", None))
    if not type(layer).__name__.endswith("RMSNorm") or type(weight) is not nn.Parameter or not isinstance(eps, float):
        return None
    if weight.requires_grad or weight.dim() != 1 or _has_hooks(layer):
        return None
    fused = FusedRMSNorm(layer, eps)
    # Gemma multiplies by 1 + w, others differ in where they round: what the original computes decides.
    size = len(weight)
    probe = torch.linspace(-3, 3, 4 * size, device=weight.device).view(1, 4, size).sin().to(weight.dtype)
    tolerance = torch.finfo(weight.dtype).eps * 4
    return fused if torch.allclose(fused(probe), layer(probe), atol=tolerance, rtol=tolerance) else None


def _is_plain(weight: object) -> bool:
    # A DTensor is a weight that FSDP2 keeps in parts; it is whole when the layer runs.
    return type(weight) is nn.Parameter or type(weight) is DTensor


def _has_hooks(*layers: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in layers)
