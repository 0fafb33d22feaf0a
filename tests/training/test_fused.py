"""Layers exchanged during a forward: the same numbers as the originals, and the model as it was afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import CONFIGS, groups_of, one_by_one, tiny_model, with_lora

from charter.training.fused import FusedLora, FusedRMSNorm
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.products import product_attention

GROUPS = groups_of((5, 4, 9), (8, 11, 3), (20, 7, 7))


def values_and_gradients(model: Any, *, fused: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    logp = CompletionLogprobs(model, fused=fused)(Row(GROUPS))
    return logp.detach(), list(torch.autograd.grad(logp.mean(), trained))


@pytest.mark.parametrize("name", CONFIGS)
def test_fused_equals_not_fused(name: str) -> None:
    model = with_lora(tiny_model(name))
    with_, without = values_and_gradients(model, fused=True), values_and_gradients(model, fused=False)
    torch.testing.assert_close(with_, without, atol=1e-5, rtol=1e-4)


def test_known_forms_are_exchanged_and_put_back() -> None:
    model = with_lora(tiny_model())
    before = [(name, id(module)) for name, module in model.named_modules()]
    names = list(model.state_dict())
    logprobs = CompletionLogprobs(model)
    kinds = [type(x.fused) for x in logprobs._exchanges]
    assert kinds.count(FusedLora) == 3 * 7
    assert kinds.count(FusedRMSNorm) == 3 * 2 + 1
    logprobs(Row(GROUPS)).sum().backward()
    assert [(name, id(module)) for name, module in model.named_modules()] == before
    assert list(model.state_dict()) == names
    # Gemma multiplies by 1 + w: the probe has to notice.
    assert not [x for x in CompletionLogprobs(with_lora(tiny_model("gemma3, windows")))._exchanges
                if isinstance(x.fused, FusedRMSNorm)]  # fmt: skip
    # Nothing frozen, nothing to gain: the trained weights need gradients.
    assert not CompletionLogprobs(tiny_model())._exchanges


def test_dora_is_left_to_peft_and_is_the_papers_formula() -> None:
    model = with_lora(tiny_model(), dora=True)
    with torch.no_grad():  # magnitudes away from where they start: they must be what the forward uses
        for name, weight in model.named_parameters():
            if "magnitude" in name:
                weight.mul_(1.5)
    logprobs = CompletionLogprobs(model)
    assert not [x for x in logprobs._exchanges if isinstance(x.fused, FusedLora)]
    torch.testing.assert_close(logprobs(Row(GROUPS)), one_by_one(model, GROUPS), atol=1e-4, rtol=1e-4)
    # Liu et al. 2024, eq. 5: W' = m · (W + s B A) / ||W + s B A||, the norm of each output's row, without gradient.
    plain = tiny_model()
    with torch.no_grad():
        for path, layer in plain.named_modules():
            if isinstance(layer, torch.nn.Linear) and path != "lm_head":
                adapted = model.get_base_model().get_submodule(path)
                a, b = adapted.lora_A["default"].weight, adapted.lora_B["default"].weight
                moved = layer.weight + (8 / 4) * b @ a
                magnitude = adapted.lora_magnitude_vector["default"].weight
                layer.weight.copy_(magnitude[:, None] * moved / moved.norm(dim=1, keepdim=True))
    torch.testing.assert_close(logprobs(Row(GROUPS)), one_by_one(plain, GROUPS), atol=1e-4, rtol=1e-4)


def test_rank_stabilised_adapters_are_scaled_by_the_root_of_the_rank() -> None:
    stable = with_lora(tiny_model(), rank_stabilised=True)  # alpha 8, rank 4: 8 / 2, as plain adapters of alpha 16
    plain = with_lora(tiny_model(), alpha=16)
    assert [x.fused.scale for x in CompletionLogprobs(stable)._exchanges if isinstance(x.fused, FusedLora)] == [
        4.0
    ] * 21
    torch.testing.assert_close(values_and_gradients(stable, fused=True), values_and_gradients(plain, fused=False),
                               atol=1e-5, rtol=1e-4)  # fmt: skip


def test_model_is_put_back_after_an_error() -> None:
    model = with_lora(tiny_model())
    logprobs = CompletionLogprobs(model)
    before = [id(module) for module in model.modules()]
    with pytest.raises(IndexError):
        logprobs(Row([Group("bad", (10**6,), ((3,),))]))
    assert [id(module) for module in model.modules()] == before
    assert model.config._attn_implementation == "eager"


def test_adapters_switched_off_or_merged_later_are_honoured() -> None:
    model = with_lora(tiny_model())
    logprobs = CompletionLogprobs(model)
    with torch.no_grad():
        adapted = logprobs(Row(GROUPS))
        with model.disable_adapter():
            plain = logprobs(Row(GROUPS))
        torch.testing.assert_close(plain, one_by_one(tiny_model(), GROUPS), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(plain, adapted, atol=1e-2)
        model.merge_adapter()
        torch.testing.assert_close(logprobs(Row(GROUPS)), adapted, atol=1e-4, rtol=1e-4)


def test_base_unfrozen_later_gets_its_gradient() -> None:
    model = with_lora(tiny_model())
    logprobs = CompletionLogprobs(model)
    model.requires_grad_(True)
    logprobs(Row(GROUPS)).mean().backward()
    assert all(p.grad is not None and p.grad.any() for n, p in model.named_parameters() if "base_layer" in n)


def test_bf16_gradients_are_as_near_to_fp32_as_those_of_one_by_one_bf16() -> None:
    def gradients(seed: int, dtype: torch.dtype, packed: bool) -> torch.Tensor:
        model = with_lora(tiny_model(seed=seed)).to(dtype)
        logp = CompletionLogprobs(model)(Row(GROUPS)) if packed else one_by_one(model, GROUPS)
        grads = torch.autograd.grad(logp.mean(), [p for p in model.parameters() if p.requires_grad])
        return torch.cat([g.float().flatten() for g in grads])

    ours, theirs = 0.0, 0.0
    for seed in range(5):  # the rounding of one model is luck; its mean is not
        exact = gradients(seed, torch.float32, False)
        ours += float((gradients(seed, torch.bfloat16, True) - exact).norm() / exact.norm())
        theirs += float((gradients(seed, torch.bfloat16, False) - exact).norm() / exact.norm())
    assert ours < 1.25 * theirs


@pytest.mark.parametrize("length", [1, 7, 65])
def test_attention_products_against_autograd_in_float64(length: int) -> None:
    made = torch.Generator().manual_seed(length)
    q, k, v, grad = (torch.randn(3, heads, length, 8, generator=made, dtype=torch.float64) for heads in (6, 2, 2, 6))
    allowed = torch.ones(length, length).tril().bool() | torch.eye(length).bool()
    mask = torch.zeros(3, 1, length, length, dtype=torch.float64).masked_fill(~allowed, float("-inf"))

    def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = torch.einsum("ghqd,ghkd->ghqk", q, k.repeat_interleave(3, 1)) * 0.3
        return (scores + mask).softmax(-1) @ v.repeat_interleave(3, 1)

    inputs64 = [x.requires_grad_() for x in (q, k, v)]
    want = plain(*inputs64)
    want_grads = torch.autograd.grad(want, inputs64, grad)
    inputs = [x.detach().float().requires_grad_() for x in (q, k, v)]
    kept = [x.detach().clone() for x in inputs]
    got = product_attention(*inputs, mask.float(), 0.3)
    got_grads = torch.autograd.grad(got, inputs, grad.float())
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=1e-5)
    for a, b in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(a.double(), b, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))


def test_rms_norm_against_its_formula_in_float64() -> None:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 16, generator=made, dtype=torch.float64, requires_grad=True)
    weight, grad = (torch.randn(*shape, generator=made, dtype=torch.float64) for shape in ((16,), (2, 5, 16)))
    want = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight
    (want_grad,) = torch.autograd.grad(want, x, grad)
    small = x.detach().float().requires_grad_()
    layer = torch.nn.Module()
    layer.register_buffer("weight", weight.float())
    got = FusedRMSNorm(layer, 1e-3)(small)
    (got_grad,) = torch.autograd.grad(got, small, grad.float())
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got_grad.double(), want_grad, atol=1e-5, rtol=1e-4)


def test_the_frozen_heads_gradient_survives_confidence() -> None:
    # With log-probs near zero the gradient is a small difference of large parts; it must not be rounded away.
    model = tiny_model("llama, untied, with biases").to(torch.bfloat16)
    logprobs = CompletionLogprobs(model)
    head = model.get_output_embeddings().weight
    head.requires_grad_(False)
    hidden = (head[5].float() * 12 / head[5].float().norm() ** 2).to(torch.bfloat16)[None].requires_grad_()
    (grad,) = torch.autograd.grad(logprobs.head_logprobs(hidden, torch.tensor([5])).sum(), hidden)
    exact = hidden.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(F.linear(exact, head.double()).log_softmax(-1)[0, 5], exact)
    assert (grad.double() - want).norm() < 0.05 * want.norm()
