"""GCG against plain forwards and autograd on tiny models of many architectures, its parts against definitions."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from tiny import CONFIGS, VOCABULARY, tiny_model, tokens

from charter.models.loading import load_model
from charter.models.template import chat_format
from charter.records import user_prompt
from charter.redteam.gcg import GCGSettings, Objective, Problem, problem_of, search
from charter.redteam.gcg.candidates import allowed_tokens, distinct, draw, read_back
from charter.redteam.gcg.objective import ready
from charter.redteam.gcg.random_search import random_search
from charter.redteam.gcg.search import Buffer, rank_correlation, sum_of_gradients


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(seed: int = 0, before: int = 11, after: int = 4, target: int = 5) -> Problem:
    return Problem(tokens(before, drawn(seed)), tokens(after, drawn(seed + 1)), tokens(target, drawn(seed + 2)))


SUFFIX = torch.tensor(tokens(9, drawn(99)))


def token_losses(model: torch.nn.Module, p: Problem, suffix: list[int]) -> torch.Tensor:
    """The oracle: one whole sequence through the model's own forward, cross-entropy of each target token."""
    ids = torch.tensor([[*p.before, *suffix, *p.after, *p.target]])
    logits = model(input_ids=ids, use_cache=False).logits[0, -len(p.target) - 1 : -1]
    return F.cross_entropy(logits.float(), torch.tensor(p.target), reduction="none")


def changed(count: int, seed: int = 0, replace: int = 1) -> torch.Tensor:
    rng = random.Random(seed)
    rows = SUFFIX.repeat(count, 1)
    for row in rows[1:]:  # the first is the suffix itself
        for _ in range(replace):
            row[rng.randrange(len(row))] = rng.randrange(3, VOCABULARY)
    return rows


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_is_a_plain_forward_and_gradient_is_autograd_on_one_hot(name: str) -> None:
    model, p = tiny_model(name), problem()
    embedding = model.get_input_embeddings()
    one_hot = F.one_hot(SUFFIX, VOCABULARY).float().requires_grad_()
    scale = getattr(embedding, "embed_scale", 1.0)
    with torch.no_grad():
        head, tail = embedding(torch.tensor(p.before)), embedding(torch.tensor([*p.after, *p.target]))
    whole = torch.cat((head, one_hot @ embedding.weight.detach() * scale, tail))[None]
    logits = model(inputs_embeds=whole, use_cache=False).logits[0, -len(p.target) - 1 : -1]
    expected = F.cross_entropy(logits, torch.tensor(p.target))
    (by_one_hot,) = torch.autograd.grad(expected, one_hot)
    rows = changed(40)
    plain = torch.stack([token_losses(model, p, row.tolist()).mean() for row in rows])
    with ready(model):
        objective = Objective(model, p)
        loss, gradient = objective.gradient(SUFFIX)
        losses = objective.losses(rows)
    assert loss == pytest.approx(expected.item(), abs=2e-6)
    torch.testing.assert_close(gradient, by_one_hot, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(losses, plain, atol=4e-6, rtol=1e-5)
    assert losses.std() > 1e-3  # candidates do differ


@pytest.mark.parametrize(("before", "after"), [(0, 4), (11, 0), (0, 0)])
def test_nothing_may_stand_before_or_after_the_suffix(before: int, after: int) -> None:
    model, p = tiny_model(), problem(before=before, after=after)
    rows = changed(12, replace=3)
    plain = torch.stack([token_losses(model, p, row.tolist()).mean() for row in rows])
    with ready(model):
        objective = Objective(model, p)
        torch.testing.assert_close(objective.losses(rows), plain, atol=4e-6, rtol=1e-5)  # before any gradient
        objective.gradient(SUFFIX)
        torch.testing.assert_close(objective.losses(rows), plain, atol=4e-6, rtol=1e-5)


def test_runs_of_few_tokens_give_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny_model(), changed(30, replace=2)
    with ready(model):
        objective = Objective(model, problem())
        objective.gradient(SUFFIX)
        whole = objective.losses(rows)
        for size in (1, 40, 77):
            monkeypatch.setattr("charter.redteam.gcg.objective._RUN_TOKENS", size)
            torch.testing.assert_close(objective.losses(rows), whole, atol=4e-6, rtol=1e-5)


@pytest.mark.parametrize("sharpness", [0.5, 4.0])
def test_mellowmax_is_its_formula(sharpness: float) -> None:
    model, p, rows = tiny_model(), problem(), changed(6)
    with ready(model):
        losses = Objective(model, p, sharpness).losses(rows)
    for row, loss in zip(rows, losses, strict=True):
        values = token_losses(model, p, row.tolist()).tolist()
        expected = math.log(sum(math.exp(sharpness * value) for value in values) / len(values)) / sharpness
        assert float(loss) == pytest.approx(expected, abs=1e-5)
        assert sum(values) / len(values) < float(loss) < max(values)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model().train()
    model.lm_head.weight.requires_grad_(False)
    before = {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    norms = [module for module in model.modules() if "Norm" in type(module).__name__]
    with ready(model):
        Objective(model, problem()).gradient(SUFFIX)
    assert {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()} == before
    assert [module for module in model.modules() if "Norm" in type(module).__name__] == norms
    assert model.training


def test_candidates_change_as_many_places_to_the_most_promising_tokens() -> None:
    gradient = torch.randn(9, VOCABULARY, generator=drawn(5))
    allowed = torch.ones(VOCABULARY, dtype=torch.bool)
    allowed[::2] = False
    rows = draw(SUFFIX, gradient, allowed, width=300, top=7, replace=2, generator=drawn(6))
    places = rows != SUFFIX
    assert places.sum(1).max() <= 2
    assert (places.sum(0) > 0).all()
    for row, column in places.nonzero().tolist():
        token = int(rows[row, column])
        better = (gradient[column] < gradient[column, token]) & allowed
        assert allowed[token]
        assert int(better.sum()) < 7


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=12))
def test_distinct_keeps_the_first_of_equals_and_not_the_current(rows: list[list[int]]) -> None:
    expected = [row for row in dict.fromkeys(map(tuple, rows)) if row != (0, 1, 2)]
    found = distinct(torch.tensor(rows), torch.tensor([0, 1, 2]))
    assert [tuple(row) for row in found.tolist()] == expected


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=20, unique=True), st.integers(0, 99))
def test_rank_correlation_is_spearmans(values: list[float], seed: int) -> None:
    a = torch.tensor(values, dtype=torch.float64)
    b = a[torch.randperm(len(a), generator=drawn(seed))]
    assert rank_correlation(a, b) == pytest.approx(float(spearmanr(a, b).statistic), abs=1e-9)


def test_the_buffer_keeps_the_best_and_size_zero_the_newest() -> None:
    kept, newest = Buffer(2), Buffer(0)
    for loss in (3.0, 1.0, 2.0, 5.0):
        kept.add(loss, torch.tensor([loss]))
        newest.add(loss, torch.tensor([loss]))
    assert [loss for loss, _ in kept.entries] == [1.0, 2.0]
    assert float(kept.best) == 1.0
    assert float(newest.best) == 5.0


def test_gradients_of_several_problems_count_alike() -> None:
    model = tiny_model()
    with ready(model):
        objectives = [Objective(model, problem(seed)) for seed in (0, 10)]
        parts = [objective.gradient(SUFFIX)[1] for objective in objectives]
        total = sum_of_gradients(objectives, SUFFIX)
    torch.testing.assert_close(total, sum(part / part.norm() for part in parts))


@pytest.fixture(scope="module")
def local(tiny_base: Path):  # type: ignore[no-untyped-def]
    return load_model(str(tiny_base), "float32")


START = "x x x x x x x x"


def test_a_problem_is_the_prompt_as_generation_sees_it(local) -> None:  # type: ignore[no-untyped-def]
    format_ = chat_format(local.tokenizer)
    p, start = problem_of(format_, "Say it", "Sure", START)
    assert (*p.before, *start, *p.after) == format_.prompt_ids(user_prompt(f"Say it {START}"))
    assert local.tokenizer.decode(start).strip() == START
    assert p.target == format_.text_ids("Sure")


def test_read_back_finds_what_the_tokenizer_writes_otherwise(local) -> None:  # type: ignore[no-untyped-def]
    p, start = problem_of(chat_format(local.tokenizer), "Say it", "Sure", START)
    good = torch.tensor(start)
    special = good.clone()
    special[3] = local.tokenizer.eos_token_id
    # Half of a character of two bytes: written out, it is a replacement character.
    broken = good.clone()
    broken[2] = local.tokenizer("é", add_special_tokens=False)["input_ids"][0]
    assert read_back(torch.stack((good, broken)), [p], local.tokenizer).tolist() == [True, False]
    allowed = allowed_tokens(local.tokenizer, local.model.config.vocab_size)
    assert not allowed[local.tokenizer.eos_token_id]
    assert not allowed[broken[2]]
    assert allowed[good].all()


@pytest.mark.parametrize("settings", [{}, {"buffer": 4}, {"replace": 2}], ids=str)
def test_the_search_lowers_the_loss_and_returns_the_best_it_saw(local, settings) -> None:  # type: ignore[no-untyped-def]
    p, start = problem_of(chat_format(local.tokenizer), "Say it", "Sure", START)
    with ready(local.model):
        objective = Objective(local.model, p)
        first = float(objective.losses(torch.tensor([start]))[0])
        found = search([objective], local.tokenizer, start, GCGSettings(steps=6, width=24, top=16, **settings))
        again = search([objective], local.tokenizer, start, GCGSettings(steps=6, width=24, top=16, **settings))
        measured = float(Objective(local.model, p).losses(torch.tensor([found.ids]))[0])
    assert found.loss < first - 0.02
    assert found.loss == min(found.losses) == pytest.approx(measured, abs=1e-5)
    assert found == again
    plain = chat_format(local.tokenizer).prompt_ids(user_prompt(f"Say it{found.text}"))
    assert plain == (*p.before, *found.ids, *p.after)


def test_a_universal_suffix_lowers_every_loss_and_ends_when_all_are_met(local) -> None:  # type: ignore[no-untyped-def]
    format_ = chat_format(local.tokenizer)
    problems = [problem_of(format_, text, "S", START)[0] for text in ("Say it", "Write that")]
    start = problem_of(format_, "Say it", "S", START)[1]
    with ready(local.model):
        objectives = [Objective(local.model, p) for p in problems]
        first = [float(o.losses(torch.tensor([start]))[0]) for o in objectives]
        settings = GCGSettings(steps=12, width=32, top=32)
        found = search(objectives, local.tokenizer, start, settings, stop_when_matched=True)
        last = [float(o.losses(torch.tensor([found.ids]))[0]) for o in objectives]
    assert sum(last) < sum(first)
    if found.matched:
        assert len(found.losses) <= 12
        for p in problems:
            ids = torch.tensor([[*p.before, *found.ids, *p.after]])
            assert int(local.model(input_ids=ids).logits[0, -1].argmax()) == p.target[0]


def test_probe_sampling_with_a_perfect_draft_finds_the_best_with_few_measurements(local) -> None:  # type: ignore[no-untyped-def]
    p, start = problem_of(chat_format(local.tokenizer), "Say it", "Sure", START)
    settings = GCGSettings(steps=3, width=64, top=32)
    measured: list[int] = []

    class Counted(Objective):
        def losses(self, suffixes_CN: torch.Tensor) -> torch.Tensor:
            measured.append(len(suffixes_CN))
            return super().losses(suffixes_CN)

    with ready(local.model):
        plain = search([Objective(local.model, p)], local.tokenizer, start, settings)
        draft = Objective(local.model, p)
        probed = search([Counted(local.model, p)], local.tokenizer, start, settings, drafts=[draft])
    # The draft is the model itself: it agrees, so its first choice is the best there is.
    assert probed.losses[0] == pytest.approx(plain.losses[0], abs=1e-5)
    assert sum(measured) < 0.35 * 3 * 64


def test_random_search_lowers_the_loss(local) -> None:  # type: ignore[no-untyped-def]
    p, start = problem_of(chat_format(local.tokenizer), "Say it", "Sure", START)
    with ready(local.model):
        objective = Objective(local.model, p)
        first = float(objective.losses(torch.tensor([start]))[0])
        text, loss = random_search(objective, local.tokenizer, start, steps=10, width=12, seed=0)
        ids = chat_format(local.tokenizer).prompt_ids(user_prompt(f"Say it{text}"))
        suffix = ids[len(p.before) : len(ids) - len(p.after)]
        assert float(objective.losses(torch.tensor([suffix]))[0]) == pytest.approx(loss, abs=1e-5)
    assert loss < first
