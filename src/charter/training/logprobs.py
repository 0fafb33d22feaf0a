"""Log-probabilities of completion tokens, without ever holding the full logits.

The body runs once over a row; the output head is applied only at the positions that predict completion tokens, in
chunks, with fp32 reductions. With a frozen head (LoRA) the gradient with respect to each hidden state,
W[y] - softmax(z) W, is formed while the chunk's logits exist, so backward needs no second pass over the vocabulary;
with a trained head the chunk is recomputed in backward.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

import torch
from torch import Tensor

from charter.training.body import RowForward
from charter.training.layout import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CHUNK = 256
T = TypeVar("T")


@dataclass(frozen=True)
class HeadForm:
    """How logits come from the head's product: z = scale · (h W^T + b), then cap · tanh(z / cap) when capped."""

    scale: float = 1.0
    cap: float | None = None

    def at(self, temperature: float) -> HeadForm:
        """The form that gives these logits divided by the temperature: the cap is divided as the scale is."""
        return HeadForm(self.scale / temperature, self.cap and self.cap / temperature)


def head_form(config: Any) -> HeadForm:
    """The form that a transformers config asks for: Cohere multiplies, Granite divides, Gemma 2 caps."""
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return HeadForm(scale, float(cap) if cap else None)


@dataclass(frozen=True)
class Head:
    """A model's output head at work: weight (V, D), bias (V,) or None, and the form of its logits."""

    weight_VD: Tensor
    bias: Tensor | None
    form: HeadForm

    @property
    def trained(self) -> bool:
        """Whether the head itself gets gradients."""
        return self.weight_VD.requires_grad or (self.bias is not None and self.bias.requires_grad)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """fp32 logits (N, V), scaled and capped: give it a chunk, never all positions."""
        return _capped(_logits(hidden_ND, self.weight_VD, self.bias, self.form), self.form)


class CompletionLogprobs(RowForward):
    """A causal language model whose forward maps a row to completion log-probs.

    temperature: log-probs are of softmax(logits / temperature), the distribution that samples are drawn from at it.
    Raises UserError when body and head do not reproduce the model's own logits (checked once, on a short probe).
    """

    def __init__(self, model: PreTrainedModel, *, fused: bool = True, temperature: float = 1.0) -> None:
        super().__init__(model, fused=fused)
        self.temperature = temperature
        self._form = head_form(self._inner.config).at(temperature)
        self._verify()

    @overload
    def forward(self, row: Row) -> Tensor: ...

    @overload
    def forward(self, row: Row, read: Callable[[Head, Tensor], T]) -> T: ...

    def forward(self, row: Row, read: Callable[[Head, Tensor], Any] | None = None) -> Any:
        """logp_N in nats, fp32: one per completion token of the row, in the row's order.

        read: what to make, in the place of log-probs, of the head and the hidden states (N, D) that predict the
        completion tokens. It is called inside the forward pass, where a sharded model's head is whole.
        """
        hidden_ND = self.hidden(row).index_select(0, row.predict_N.to(self.device))
        if read is not None:
            return read(Head(self._head.weight, getattr(self._head, "bias", None), self._form), hidden_ND)
        return self.head_logprobs(hidden_ND, row.target_N.to(self.device))

    @contextlib.contextmanager
    def base(self) -> Iterator[None]:
        """Within the block the model is the one under its adapter, without dropout or gradient.

        Raises ValueError when the model has no adapter to switch off.
        """
        if not hasattr(self.model, "disable_adapter"):
            raise ValueError("the model has no adapter, so its base is not there any more once it is trained")
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad(), self.model.disable_adapter():
                yield
        finally:
            self.train(was_training)

    def head_logprobs(self, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
        """Log-probs (N,), fp32, of the target tokens at the given hidden states."""
        weight, bias = self._head.weight, getattr(self._head, "bias", None)
        if torch.is_grad_enabled() and (weight.requires_grad or (bias is not None and bias.requires_grad)):
            chunks = [
                torch.utils.checkpoint.checkpoint(_chunk_logprobs, h, weight, bias, t, self._form, use_reentrant=False)
                for h, t in zip(hidden_ND.split(_CHUNK), target_N.split(_CHUNK), strict=True)
            ]
            return torch.cat(chunks)
        logp: Tensor = _FrozenHead.apply(hidden_ND, weight, bias, target_N, self._form)
        return logp

    @torch.no_grad()
    def _verify(self) -> None:
        was_training = self.training
        self.eval()
        row = self._probe()
        (group,) = row.groups
        ours = self(row)
        theirs = []
        for completion in group.completions:
            whole = torch.tensor([group.prompt + completion], device=self.device)
            logits = self.model(input_ids=whole).logits[0, len(group.prompt) - 1 : -1].float()
            logp = (logits / self.temperature).log_softmax(-1)
            theirs.append(logp.gather(1, whole[0, len(group.prompt) :, None])[:, 0])
        self.train(was_training)
        differences = (ours - torch.cat(theirs)).abs()
        # fp32 agrees token by token; in bf16 both are equally far from fp32 (0.05 nats on SmolLM2), so the mean tells.
        exact = self._head.weight.dtype == torch.float32
        if (differences.max() > 1e-3) if exact else (differences.mean() > 0.3):
            raise self._refuse(differences.max().item(), "log-probs in nats")


def sum_by_completion(values_N: Tensor, row: Row) -> Tensor:
    """Per-completion sums (C,) of per-token values (N,), in fp32."""
    total = torch.zeros(row.completions, dtype=torch.float32, device=values_N.device)
    return total.index_add(0, row.sequence_N.to(values_N.device), values_N.float())


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, form: HeadForm) -> Tensor:
    """fp32 logits before capping."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    return logits if form.scale == 1.0 else logits * form.scale


def _capped(logits: Tensor, form: HeadForm) -> Tensor:
    return logits if form.cap is None else form.cap * torch.tanh(logits / form.cap)


def _chunk_logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, form: HeadForm) -> Tensor:
    logits = _capped(_logits(hidden, weight, bias, form), form)
    return logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1)


class _FrozenHead(torch.autograd.Function):
    """Log-probs under a frozen head; the gradient per hidden state is formed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias: Tensor | None, target_N: Tensor, form: HeadForm
    ) -> Tensor:
        needs_grad = ctx.needs_input_grad[0]
        logps, slopes = [], []
        for hidden, target in zip(hidden_ND.split(_CHUNK), target_N.split(_CHUNK), strict=True):
            logits = _logits(hidden, weight_VD, bias, form)
            if form.cap is not None:
                logits = logits.div_(form.cap).tanh_().mul_(form.cap)
            column = target[:, None]
            top, place = logits.max(1, keepdim=True)
            picked = logits.gather(1, column)
            weights = logits.softmax(1)
            # The largest weight is exp(0) / total: log total comes back from it without another pass.
            logps.append((picked - top + weights.gather(1, place).log())[:, 0])
            if needs_grad:
                # d logp / dz = onehot(y) - softmax(z). The target's part is kept apart, in fp32: for a confident model
                # it is a small difference, which bf16 would round away.
                own = 1 - weights.gather(1, column)
                weights.scatter_(1, column, 0.0)
                if form.cap is not None:
                    weights.mul_(logits.div_(form.cap).square_().neg_().add_(1))
                    own *= 1 - (picked / form.cap).square()
                others = (weights.to(weight_VD.dtype) @ weight_VD).float()
                slopes.append((own * weight_VD[target].float() - others).mul_(form.scale))
        if needs_grad:
            ctx.save_for_backward(torch.cat(slopes))
            ctx.dtype = hidden_ND.dtype
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slopes_ND,) = ctx.saved_tensors
        return (slopes_ND * grads[0][:, None]).to(ctx.dtype), None, None, None, None
