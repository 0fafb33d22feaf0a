"""Shared-prompt rows give what one-by-one forwards give: log-probs and gradients, fp32, to 1e-4."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import CONFIGS, groups_of, one_by_one, tiny_model, with_lora

from charter.training.layout import Group, Row, pack
from charter.training.logprobs import CompletionLogprobs, sum_by_completion

# Lengths differ enough to need several attention blocks, and exceed the sliding windows of 6.
SHAPES = {
    1: ((5, 9), (3, 4), (14, 21), (1, 1)),
    2: ((5, 4, 9), (8, 11, 3), (20, 7, 7), (2, 1, 30)),
    4: ((6, 5, 9, 1, 12), (17, 3, 8, 2, 2), (3, 4, 4, 4, 4)),
}
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def assert_same_gradients(model: Any, ours: torch.Tensor, theirs: torch.Tensor, seed: int = 3) -> None:
    """Gradients of a random mix of the log-probs, over every trainable parameter."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    mix = torch.randn(len(ours), generator=torch.Generator().manual_seed(seed)) / len(ours)
    got = torch.autograd.grad((ours * mix).sum(), [p for _, p in trained], allow_unused=True)
    want = torch.autograd.grad((theirs * mix).sum(), [p for _, p in trained], allow_unused=True)
    assert any(w is not None and w.abs().max() > 1e-3 for w in want)
    for (name, _), a, b in zip(trained, got, want, strict=True):
        if b is None:
            assert a is None or not a.any(), name
        else:
            assert a is not None, name
            torch.testing.assert_close(a, b, **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("shared", [0, 11])
@pytest.mark.parametrize("completions", SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight(name: str, completions: int, shared: int) -> None:
    model = tiny_model(name)
    groups = groups_of(*SHAPES[completions], shared=shared)
    row = Row(groups)
    assert row.shared == shared
    ours, theirs = CompletionLogprobs(model)(row), one_by_one(model, groups)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    assert_same_gradients(model, ours, theirs)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("completions", SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_adapters(name: str, completions: int, training: bool) -> None:
    model = with_lora(
        tiny_model(name, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0) if name == "gpt2" else tiny_model(name)
    )
    groups = groups_of(*SHAPES[completions], seed=1, shared=9 if training else 0)
    logprobs = CompletionLogprobs(model).train(training)
    ours, theirs = logprobs(Row(groups)), one_by_one(model, groups)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    assert_same_gradients(model, ours, theirs)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("name", ["llama, tied", "gemma3, windows", "gpt2"])
def test_gradient_checkpointing(name: str, lora: bool) -> None:
    off = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if name == "gpt2" else {}
    model: Any = with_lora(tiny_model(name, **off)) if lora else tiny_model(name, **off)
    groups = groups_of(*SHAPES[2], shared=8)
    theirs = one_by_one(model, groups)
    logprobs = CompletionLogprobs(model).train()
    logprobs.checkpoint_gradients(True)
    assert_same_gradients(model, logprobs(Row(groups)), theirs)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_forwards_before_a_backward(checkpointing: bool) -> None:
    model = tiny_model("mistral, window 6")
    first, second = groups_of(*SHAPES[2], shared=10), groups_of(*SHAPES[4], seed=5, shared=20)
    theirs = one_by_one(model, first), one_by_one(model, second)
    logprobs = CompletionLogprobs(model).train()
    logprobs.checkpoint_gradients(checkpointing)
    ours = logprobs(Row(first)), logprobs(Row(second))
    assert_same_gradients(model, ours[1], theirs[1])
    assert_same_gradients(model, ours[0], theirs[0])


@pytest.mark.parametrize("name", ["llama, tied", "gemma2, soft caps", "cohere, logits multiplied"])
def test_frozen_head_gives_the_body_the_same_gradient_as_a_trained_one(name: str) -> None:
    model = tiny_model(name, tie_word_embeddings=False)
    model.get_output_embeddings().weight = torch.nn.Parameter(model.get_output_embeddings().weight.detach().clone())
    row = Row(groups_of(*SHAPES[2]))
    body = [p for n, p in model.named_parameters() if "layers" in n]
    grads = []
    for trained in (True, False):
        model.get_output_embeddings().weight.requires_grad_(trained)
        grads.append(torch.autograd.grad(CompletionLogprobs(model)(row).mean(), body))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_bf16_is_as_near_to_fp32_as_one_by_one_bf16_is() -> None:
    exact, rounded = tiny_model("llama, tied"), tiny_model("llama, tied").to(torch.bfloat16)
    groups = groups_of(*SHAPES[2])
    with torch.no_grad():
        want = one_by_one(exact, groups)
        theirs = (one_by_one(rounded, groups) - want).square().mean().sqrt()
        ours = (CompletionLogprobs(rounded)(Row(groups)) - want).square().mean().sqrt()
    assert 0 < ours < 1.5 * theirs


def test_the_models_own_attention_is_back_after_a_forward() -> None:
    model = tiny_model()
    before = model.config._attn_implementation
    CompletionLogprobs(model)(Row(groups_of((4, 3))))
    assert model.config._attn_implementation == before


def test_pack_keeps_every_group_once_within_the_budget() -> None:
    groups = groups_of(*((1 + i % 7, 1 + i % 5, 2) for i in range(40)), (30, 9))
    rows = pack(groups, 25)
    assert sorted(i for row in rows for i in row) == list(range(41))
    for row in rows:
        assert sum(groups[i].length for i in row) <= 25 or len(row) == 1


def test_what_prompts_share_stands_in_a_row_once() -> None:
    groups = groups_of(*SHAPES[2], shared=12)
    assert Row(groups).tokens == sum(group.length for group in groups) - 3 * 12
    # Nothing is shared with a row of one, nor a beginning too short to matter, nor the last token of a prompt.
    assert Row(groups[:1]).shared == Row(groups_of((4, 3), (5, 2), shared=7)).shared == 0
    assert Row([Group("a", tuple(range(9)), ((1,),)), Group("b", tuple(range(9)), ((2,),))]).shared == 8


def test_pack_counts_what_all_share_once() -> None:
    groups = groups_of(*((3, 4) for _ in range(10)), shared=30)
    rows = pack(groups, 30 + 5 * 7)
    assert [len(row) for row in rows] == [5, 5]
    assert all(Row([groups[i] for i in row]).tokens == 65 for row in rows)


def test_sums_are_per_completion() -> None:
    row = Row([Group("a", (1, 2), ((3,), (4, 5))), Group("b", (6,), ((7, 8, 9),))])
    sums = sum_by_completion(torch.tensor([1.0, 10, 20, 100, 200, 300]), row)
    assert sums.tolist() == [1, 30, 600]
