"""Log-probs and entropies at a temperature, and their gradients, against full logits and autograd."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import groups_of, tiny_model
from torch import Tensor

from charter.training import policy_tokens
from charter.training.layout import Row
from charter.training.logprobs import CompletionLogprobs, Head, HeadForm
from charter.training.policy_tokens import Reading, logprobs_and_entropies


@pytest.mark.parametrize("entropy_gradient", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("form", [HeadForm(), HeadForm(0.5, 5.0)])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_are_the_dense_ones_in_float64(
    temperature: float, form: HeadForm, trained: bool, entropy_gradient: bool
) -> None:
    drawn = torch.Generator().manual_seed(9)
    positions, width, vocabulary = policy_tokens._CHUNK + 20, 12, 50
    hidden = torch.randn(positions, width, generator=drawn).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=drawn).requires_grad_(trained)
    bias = torch.randn(vocabulary, generator=drawn)
    target = torch.randint(vocabulary, (positions,), generator=drawn)
    mix, mix_entropy = torch.randn(2, positions, generator=drawn)
    how = Reading(temperature, entropy_gradient)
    logp, entropy = logprobs_and_entropies(Head(weight, bias, form), hidden, target, how)
    assert entropy.requires_grad == entropy_gradient
    sources = [hidden, weight] if trained else [hidden]
    got = torch.autograd.grad(logp @ mix + entropy @ mix_entropy, sources)

    hidden64, weight64 = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    logits = form.scale * (hidden64 @ weight64.T + bias.double())
    if form.cap is not None:
        logits = form.cap * torch.tanh(logits / form.cap)
    dense: Tensor = (logits / temperature).log_softmax(1)
    want_logp, want_entropy = dense.gather(1, target[:, None])[:, 0], -(dense.exp() * dense).sum(1)
    torch.testing.assert_close(logp.double(), want_logp, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), want_entropy, atol=1e-5, rtol=1e-5)
    bonus = want_entropy @ mix_entropy.double() if entropy_gradient else 0.0
    want = torch.autograd.grad(want_logp @ mix.double() + bonus, [hidden64, weight64][: len(sources)])
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=2e-5, rtol=2e-5)


def test_a_uniform_distribution_has_the_logarithm_of_the_vocabulary() -> None:
    head = Head(torch.zeros(7, 3), None, HeadForm())
    logp, entropy = logprobs_and_entropies(head, torch.randn(4, 3), torch.tensor([0, 1, 2, 6]))
    assert logp.tolist() == pytest.approx([-math.log(7)] * 4)
    assert entropy.tolist() == pytest.approx([math.log(7)] * 4)


def test_a_models_log_probs_are_the_plain_ones_at_temperature_one() -> None:
    logprobs = CompletionLogprobs(tiny_model("gemma2, soft caps"))
    row = Row(groups_of((5, 9), (3, 4, 2), (1, 1)))
    target_N = row.target_N
    with torch.no_grad():
        logp_N, entropy_N = logprobs(row, lambda head, hidden: logprobs_and_entropies(head, hidden, target_N))
        torch.testing.assert_close(logp_N, logprobs(row), atol=1e-5, rtol=1e-5)
    assert (entropy_N > 0).all()
