"""Divergences and their gradients against full logits and autograd in float64, and what they may not hold in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import VOCABULARY, groups_of, tiny_model, with_lora
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from charter.errors import UserError
from charter.training import divergence
from charter.training.divergence import Comparison, TopTokens, token_divergences, top_kl, top_tokens, whole_kl
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, Head, HeadForm
from charter.training.methods.kl import KlObjective
from charter.training.methods.likelihood import SftObjective
from charter.training.objective import Tally
from charter.training.toptokens import KeptTokens, kept_tokens

EXACT = {"atol": 1e-5, "rtol": 1e-5}
NAMES = ["llama, tied", "gemma2, soft caps", "cohere, logits multiplied", "qwen2"]
SHAPES = ((5, 9), (3, 4), (14, 21), (1, 1), (8, 130))


def dense_kl(policy_NV: Tensor, reference_NV: Tensor, how: Comparison, k: int | None) -> Tensor:
    """(N,) from whole logits, the textbook sum; with k over the reference's k most likely tokens and the rest."""
    logq = (policy_NV / how.temperature).log_softmax(-1)
    logp = (reference_NV / how.temperature).log_softmax(-1)
    if k is not None:
        top = logp.topk(k).indices
        inside = torch.zeros_like(logp, dtype=torch.bool).scatter(1, top, True)
        rest = [x.masked_fill(inside, float("-inf")).logsumexp(1, keepdim=True) for x in (logq, logp)]
        logq, logp = (torch.cat([x.gather(1, top), tail], 1) for x, tail in zip((logq, logp), rest, strict=True))
    if how.direction == "forward":
        return F.kl_div(logq, logp, reduction="none", log_target=True).sum(1)
    return F.kl_div(logp, logq, reduction="none", log_target=True).sum(1)


def dense_logits(model: Any, groups: list[Group]) -> Tensor:
    """(N, V) logits at the completions' positions, from the model's own forward, a completion at a time."""
    parts = []
    for group in groups:
        for completion in group.completions:
            logits = model(input_ids=torch.tensor([group.prompt + completion])).logits[0]
            start = len(group.prompt) - 1
            parts.append(logits[start : start + len(completion)])
    return torch.cat(parts)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("form", [HeadForm(), HeadForm(0.5, 5.0)])
@pytest.mark.parametrize(("trained", "k"), [(False, None), (False, 1), (False, 40), (True, 1), (True, 7)])
def test_values_and_gradients_are_the_dense_ones_in_float64(
    temperature: float, direction: Any, k: int | None, form: HeadForm, trained: bool
) -> None:
    drawn = torch.Generator().manual_seed(7)
    positions, width, vocabulary = divergence._CHUNK + 20, 12, 50
    hidden, other = torch.randn(2, positions, width, generator=drawn)
    weight = torch.randn(vocabulary, width, generator=drawn).requires_grad_(trained)
    bias = torch.randn(vocabulary, generator=drawn)
    target = torch.randint(vocabulary, (positions,), generator=drawn)
    mix, mix_kl = torch.randn(2, positions, generator=drawn)
    how = Comparison(direction, temperature)
    head = Head(weight, bias, form)
    reference = other if k is None else top_tokens(head, other, k, temperature, vocabulary)
    hidden.requires_grad_()
    logp, kl = token_divergences(head, hidden, target, reference, how)
    sources = [hidden, weight] if trained else [hidden]
    got = torch.autograd.grad(logp @ mix + kl @ mix_kl, sources)

    hidden64, weight64 = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()

    def logits(x: Tensor, w: Tensor) -> Tensor:
        z = form.scale * (x @ w.T + bias.double())
        return z if form.cap is None else form.cap * torch.tanh(z / form.cap)

    z = logits(hidden64, weight64)
    want_logp = z.log_softmax(1).gather(1, target[:, None])[:, 0]
    want_kl = dense_kl(z, logits(other.double(), weight64.detach()), how, k)
    want = torch.autograd.grad(want_logp @ mix.double() + want_kl @ mix_kl.double(), [hidden64, weight64])
    torch.testing.assert_close(logp.double(), want_logp, **EXACT)
    torch.testing.assert_close(kl.double(), want_kl, **EXACT)
    # Entries of the weight's gradient are sums over 148 positions, up to 200 in size.
    for ours, theirs in zip(got, want, strict=False):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-5 * max(1.0, theirs.abs().max().item()), rtol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize(("lora", "k"), [(True, None), (True, 5), (False, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_a_models_objective_has_the_dense_loss_and_gradients(
    name: str, lora: bool, k: int | None, direction: Any, tmp_path: Path
) -> None:
    model: Any = with_lora(tiny_model(name)) if lora else tiny_model(name)
    groups = groups_of(*SHAPES, seed=2)
    base = tiny_model(name) if lora else tiny_model(name, seed=5)
    kept = None if k is None else keep(CompletionLogprobs(base), groups, tmp_path, k)
    how = Comparison(direction)
    objective = KlObjective(SftObjective({g.key: 1.0 for g in groups}), how, kept, kl_weight=0.7)
    logprobs = CompletionLogprobs(model).train()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    loss = objective.row_loss(logprobs, Row(groups), Tally())
    got = torch.autograd.grad(loss, [p for _, p in trained], allow_unused=True)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [n for n, _ in trained]
    assert logprobs.training

    policy = dense_logits(model, groups)
    with torch.no_grad():
        reference = dense_logits(base, groups)
    targets = torch.tensor([t for g in groups for c in g.completions for t in c])
    kl = dense_kl(policy, reference, how, k)
    want_loss = F.cross_entropy(policy, targets, reduction="sum") + 0.7 * kl.sum()
    torch.testing.assert_close(loss, want_loss, atol=1e-3, rtol=1e-5)  # a sum over 165 tokens
    want = torch.autograd.grad(want_loss, [p for _, p in trained], allow_unused=True)
    for (parameter, _), a, b in zip(trained, got, want, strict=True):
        if b is None:
            assert a is None or not a.any(), parameter
        else:
            assert a is not None
            scale = max(1.0, b.abs().max().item())
            torch.testing.assert_close(a / scale, b / scale, **EXACT, msg=lambda m, n=parameter: f"{n}: {m}")


def keep(logprobs: CompletionLogprobs, groups: list[Group], folder: Path, k: int, row_tokens: int = 60) -> KeptTokens:
    return kept_tokens(
        lambda: logprobs, groups, row_tokens, "digest", folder, k=k, temperature=1.0, vocabulary=VOCABULARY, title="t"
    )


few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@few
@given(st.integers(0, 999), st.integers(1, 15), st.floats(0.1, 60.0), st.sampled_from(["forward", "reverse"]))
def test_top_tokens_never_say_more_than_whole_distributions(seed: int, k: int, spread: float, direction: Any) -> None:
    drawn = torch.Generator().manual_seed(seed)
    logq, logp = (torch.randn(2, 4, 16, generator=drawn) * spread).log_softmax(-1)
    top = logp.topk(k)
    tail = logp.scatter(1, top.indices, float("-inf")).logsumexp(1)
    whole, _ = whole_kl(logq, logp, direction)
    kept, slope = top_kl(logq, TopTokens(top.indices, top.values, tail), direction)
    assert torch.isfinite(kept).all()
    assert torch.isfinite(slope).all()
    assert (kept <= whole + 1e-4 * (1 + whole)).all()
    assert (kept >= -1e-5).all()
    # A shift of all logits changes nothing, so every gradient with respect to them sums to zero.
    torch.testing.assert_close(slope.sum(1), torch.zeros(4), atol=2e-4 * (1 + kept.max().item()), rtol=0)
    if k == 15:
        torch.testing.assert_close(kept, whole, atol=1e-4, rtol=1e-4)


def test_a_policy_at_its_base_has_no_divergence_and_no_pull() -> None:
    model: Any = with_lora(tiny_model())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.zero_()
    groups = groups_of(*SHAPES)
    tally = Tally()
    objective = KlObjective(SftObjective({g.key: 1.0 for g in groups}), Comparison(), None, 1.0, nll_weight=0.0)
    loss = objective.row_loss(CompletionLogprobs(model), Row(groups), tally)
    loss.backward()
    assert tally.means()["kl"] == pytest.approx(0, abs=1e-6)
    assert max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None) < 1e-5


class Largest(TorchDispatchMode):
    """Notes the most elements that any tensor made within it has."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.numel())
        return out


@pytest.mark.parametrize("lora", [False, True])
def test_no_table_of_all_completion_tokens_by_the_vocabulary_is_made(lora: bool, tmp_path: Path) -> None:
    vocabulary = 3001
    plain = tiny_model(vocab_size=vocabulary)
    model: Any = with_lora(plain) if lora else plain
    groups = groups_of(*((2, 70) for _ in range(10)))
    row = Row(groups)
    tokens = len(row.target_N)
    kept = None
    with Largest() as largest:
        logprobs = CompletionLogprobs(model)
        if not lora:
            kept = kept_tokens(
                lambda: logprobs, groups, 4096, "d", tmp_path, k=8, temperature=1.0, vocabulary=vocabulary, title="t"
            )
        objective = KlObjective(SftObjective({g.key: 1.0 for g in groups}), Comparison(), kept, 1.0)
        objective.row_loss(logprobs, row, Tally()).backward()
    assert tokens == 700
    assert largest.elements <= max(divergence._CHUNK, 256) * vocabulary < tokens * vocabulary / 2
    with Largest() as largest:
        dense_logits(model, groups)
    assert largest.elements > 70 * vocabulary  # the counting counts


def test_kept_tokens_are_read_by_group_whatever_they_were_packed_with(tmp_path: Path) -> None:
    logprobs = CompletionLogprobs(tiny_model())
    groups = groups_of(*SHAPES, seed=4)
    loose, tight = keep(logprobs, groups, tmp_path / "a", 6, 10_000), keep(logprobs, groups, tmp_path / "b", 6, 20)
    for members in ([groups[3], groups[0]], groups[::-1]):
        one, two = loose.of(members), tight.of(members)
        assert torch.equal(one.ids_NK, two.ids_NK)
        torch.testing.assert_close(one.logp_NK, two.logp_NK, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.tail_N, two.tail_N, atol=1e-4, rtol=1e-4)
        assert len(one.tail_N) == len(Row(members).target_N)
        torch.testing.assert_close(one.logp_NK.exp().sum(1) + one.tail_N.exp(), torch.ones(len(one.tail_N)))

    def never() -> CompletionLogprobs:
        raise AssertionError("computed again")

    again = kept_tokens(
        never, groups, 5, "digest", tmp_path / "a", k=6, temperature=1.0, vocabulary=VOCABULARY, title="t"
    )
    assert torch.equal(again.of(groups).logp_NK, loose.of(groups).logp_NK)
    with pytest.raises(UserError, match="leave no others"):
        keep(logprobs, groups, tmp_path, VOCABULARY)
    with pytest.raises(ValueError, match="no adapter"), logprobs.base():
        pass


def test_hidden_states_are_refused_under_a_trained_head() -> None:
    head = Head(torch.randn(9, 4).requires_grad_(), None, HeadForm())
    with pytest.raises(ValueError, match="head that is trained"):
        token_divergences(head, torch.randn(3, 4), torch.tensor([1, 2, 3]), torch.randn(3, 4), Comparison())


FROZEN = Path(__file__).parent / "oracles" / "divergences.safetensors"


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("k", [None, 1, 8])
def test_divergences_and_gradients_are_trls(temperature: float, direction: Any, k: int | None) -> None:
    frozen = load_file(FROZEN)
    name = f"{direction}.{k or 'whole'}.{temperature:g}"
    # An identity for a head: logits are the hidden states.
    size = frozen["student_NV"].shape[1]
    head = Head(torch.eye(size), None, HeadForm())
    student = frozen["student_NV"].clone().requires_grad_()
    reference: Any = frozen["teacher_NV"]
    if k is not None:
        reference = top_tokens(head, reference, k, temperature, size)
    target = torch.zeros(len(student), dtype=torch.long)
    _, kl = token_divergences(head, student, target, reference, Comparison(direction, temperature, likelihood=False))
    kl.sum().backward()
    torch.testing.assert_close(kl, frozen[f"{name}.losses_N"], **EXACT)
    torch.testing.assert_close(student.grad, frozen[f"{name}.gradient_NV"], **EXACT)
