"""The engine against transformers' own generate and plain forwards, on tiny random models in fp32."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.models.auto import AutoModelForCausalLM

from charter.models.generation.engine import Engine
from charter.models.generation.types import Finished, Request
from charter.records import Sampling

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 160,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES),
    "qwen2": lambda: Qwen2Config(**{k: v for k, v in SIZES.items() if k != "head_dim"}),
    "gpt2": lambda: GPT2Config(
        vocab_size=300, n_embd=32, n_layer=3, n_head=4, n_positions=160, bos_token_id=1, eos_token_id=2
    ),
    "mistral, window 16": lambda: MistralConfig(**SIZES, sliding_window=16),
    "gemma2, soft caps": lambda: Gemma2Config(**SIZES, sliding_window=16, query_pre_attn_scalar=8),
    "gpt-oss, sinks": lambda: GptOssConfig(**SIZES, num_local_experts=2, num_experts_per_tok=2, sliding_window=16),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, sliding_window=16, query_pre_attn_scalar=8),
}


def tiny(config: object, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # initial weights of 0.02 give near-uniform distributions, where any token goes
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "A_log" not in name:
                weight.mul_(8.0)
    return model.eval()


def prompts(count: int, seed: int = 0, longest: int = 60, shared: int = 0) -> list[tuple[int, ...]]:
    """Random prompts that all begin with the same `shared` tokens."""
    made = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (count,), generator=made).tolist()
    head = torch.randint(3, 300, (shared,), generator=made).tolist()
    return [tuple(head + torch.randint(3, 300, (length,), generator=made).tolist()) for length in lengths]


def theirs(model: PreTrainedModel, prompt: tuple[int, ...], count: int) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=2,
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("shared", [0, 20])
@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_equals_transformers_generate(name: str, shared: int) -> None:
    model = tiny(CONFIGS[name]())
    asked = prompts(12, shared=shared)
    if "caps" in name or "sinks" in name:
        model.set_attn_implementation("eager")  # transformers' sdpa knows neither
    before = model.config._attn_implementation
    engine = Engine(model, stop_ids={2}, max_rows=5)
    assert engine.plain_because is None
    done = engine.run([Request(i, ids, Sampling(max_tokens=40)) for i, ids in enumerate(asked)])
    assert model.config._attn_implementation == before
    for ids, one in zip(asked, done, strict=True):
        assert list(one.tokens) == theirs(model, ids, 40)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.7, 1.0), (1.3, 0.8)])
def test_logprobs_equal_a_teacher_forced_forward(name: str, temperature: float, top_p: float) -> None:
    model = tiny(CONFIGS[name]())
    if "caps" in name or "sinks" in name:
        model.set_attn_implementation("eager")  # transformers' sdpa knows neither
    asked = prompts(4, seed=1, shared=12)
    engine = Engine(model, stop_ids={2}, max_rows=3)
    assert engine.plain_because is None
    done = engine.run([Request(i, ids, Sampling(24, temperature, top_p)) for i, ids in enumerate(asked)])
    for ids, one in zip(asked, done, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids + one.tokens])).logits[0, len(ids) - 1 : -1].double()
        expected = oracle_logprobs(logits, temperature, top_p)[range(len(one.tokens)), one.tokens]
        torch.testing.assert_close(torch.tensor(one.logprobs, dtype=torch.float64), expected, atol=1e-4, rtol=0)


def oracle_logprobs(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Log-probabilities after transformers' own warpers."""
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    if temperature:
        logits = TemperatureLogitsWarper(temperature)(None, logits)
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(None, logits)
    return torch.log_softmax(logits, -1)


def sampled(model: PreTrainedModel, requests: list[Request], max_rows: int) -> dict[object, Finished]:
    done = Engine(model, stop_ids={2}, max_rows=max_rows).run(requests)
    return {one.key: one for one in done}


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_a_sample_does_not_depend_on_its_batch(top_p: float) -> None:
    model = tiny(CONFIGS["llama"]())
    sampling = Sampling(30, 1.0, top_p)
    requests = [Request((i, j), ids, sampling, j, 7) for i, ids in enumerate(prompts(6)) for j in range(3)]
    reference = sampled(model, requests, 128)
    assert len({one.tokens for one in reference.values()}) > 12  # streams differ
    for other in (sampled(model, requests, 4), sampled(model, requests[::-1], 7), sampled(model, requests[5:6], 1)):
        for key, one in other.items():
            assert one.tokens == reference[key].tokens, key
            assert one.logprobs == pytest.approx(reference[key].logprobs, abs=1e-4)


def test_seed_and_index_name_the_stream() -> None:
    model = tiny(CONFIGS["llama"]())
    ids = prompts(1)[0]
    sampling = Sampling(20, 1.0)
    keyed = {(seed, index): Request((seed, index), ids, sampling, index, seed) for seed in (0, 1) for index in (0, 1)}
    done = sampled(model, list(keyed.values()), 4)
    assert len({one.tokens for one in done.values()}) == 4


def test_draws_follow_the_distribution() -> None:
    """Chi-square of 4,000 first tokens against the model's probabilities, at its 99.9% quantile."""
    from scipy.stats import chi2

    model = tiny(CONFIGS["llama"]())
    ids = prompts(1)[0]
    with torch.no_grad():
        chances = torch.softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
    count = 4000
    engine = Engine(model, stop_ids=(), max_rows=500)
    done = engine.run([Request(j, ids, Sampling(1, 1.0), j) for j in range(count)])
    seen = torch.bincount(torch.tensor([one.tokens[0] for one in done]), minlength=300).double()
    common = chances * count >= 5
    expected = torch.cat((chances[common] * count, (chances[~common].sum() * count)[None]))
    observed = torch.cat((seen[common], seen[~common].sum()[None]))
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert statistic < chi2.ppf(0.999, len(expected) - 1)
    assert engine.stats.prefills == 1


@pytest.mark.parametrize("max_rows", [3, 64])
def test_shared_prompts_are_prefilled_once(max_rows: int) -> None:
    model = tiny(CONFIGS["llama"]())
    asked = prompts(3)
    engine = Engine(model, stop_ids={2}, max_rows=max_rows)
    requests = [Request((i, j), ids, Sampling(8, 1.0), j) for i, ids in enumerate(asked) for j in range(5)]
    done = engine.run(requests)
    assert len(done) == 15
    assert [one.key for one in done] == [request.key for request in requests]
    assert engine.stats.prefills == 3
    assert engine.stats.prefilled_tokens == sum(map(len, asked))
    assert engine.stats.shared_prompts == 12
    assert engine.stats.decoded_tokens == sum(len(one.tokens) for one in done)


def test_what_prompts_begin_with_is_prefilled_once() -> None:
    asked = prompts(6, shared=30)
    engine = Engine(tiny(CONFIGS["llama"]()), stop_ids={2})
    engine.run([Request(i, ids, Sampling(4)) for i, ids in enumerate(asked)])
    assert engine.stats.prefilled_tokens == sum(map(len, asked)) - 5 * 30


def test_prompts_under_two_clauses_prefill_each_clause_once_and_say_the_same() -> None:
    asked = [
        one for pair in zip(prompts(6, shared=40, seed=1), prompts(6, shared=40, seed=2), strict=True) for one in pair
    ]
    model = tiny(CONFIGS["llama"]())
    engine = Engine(model, stop_ids={2})
    done = engine.run([Request(i, ids, Sampling(4)) for i, ids in enumerate(asked)])
    assert engine.stats.prefilled_tokens == sum(map(len, asked)) - 2 * 5 * 40
    alone = [Engine(model, stop_ids={2}).run([Request(i, ids, Sampling(4))])[0] for i, ids in enumerate(asked)]
    assert [one.tokens for one in done] == [one.tokens for one in alone]


def test_stop_ids_length_and_context() -> None:
    model = tiny(CONFIGS["llama"]())
    asked = prompts(6, seed=3)
    free = Engine(model, stop_ids=()).run([Request(i, ids, Sampling(20)) for i, ids in enumerate(asked)])
    assert all(one.finish == "length" and len(one.tokens) == 20 for one in free)
    stop = free[0].tokens[7]
    first = free[0].tokens.index(stop)
    engine = Engine(model, stop_ids={stop})
    ended = engine.run([Request(i, ids, Sampling(20)) for i, ids in enumerate(asked)])
    assert ended[0].tokens == free[0].tokens[: first + 1]
    assert (ended[0].finish, ended[0].stopped_by) == ("stop", "token")
    assert engine.stats.truncated == sum(one.finish == "length" for one in ended)
    # The context is 160: ten tokens of room, then the end.
    long = tuple(range(3, 153))
    (one,) = Engine(model, stop_ids=()).run([Request(0, long, Sampling(50))])
    assert (one.finish, len(one.tokens)) == ("length", 10)


def test_overflow_is_an_error_not_a_truncation() -> None:
    model = tiny(CONFIGS["llama"]())
    fine, over = prompts(1)[0], tuple([5] * 160)
    done = Engine(model, stop_ids=()).run(
        [Request("over", over, Sampling(4)), Request("fine", fine, Sampling(4)), Request("none", (), Sampling(4))]
    )
    assert [one.finish for one in done] == ["error", "length", "error"]
    assert "160" in str(done[0].error)
    assert done[0].tokens == ()


def test_a_small_token_budget_only_slows() -> None:
    model = tiny(CONFIGS["llama"]())
    requests = [Request(i, ids, Sampling(12)) for i, ids in enumerate(prompts(7))]
    tight = Engine(model, stop_ids={2}, token_budget=1).run(requests)
    assert [one.tokens for one in tight] == [one.tokens for one in Engine(model, stop_ids={2}).run(requests)]


def test_different_samplings_share_a_batch() -> None:
    model = tiny(CONFIGS["llama"]())
    ids = prompts(1)[0]
    kinds = [Sampling(9), Sampling(30, 1.0), Sampling(15, 0.8, 0.7), Sampling(90, 1.2)]
    together = Engine(model, stop_ids={2}).run([Request(i, ids, kind) for i, kind in enumerate(kinds)])
    for i, kind in enumerate(kinds):
        (alone,) = Engine(model, stop_ids={2}).run([Request(i, ids, kind)])
        assert alone.tokens == together[i].tokens


def test_training_state_is_restored_even_after_an_error() -> None:
    model = tiny(CONFIGS["llama"]()).train()
    engine = Engine(model, stop_ids=())
    engine.add(Request(0, (299, 300), Sampling(4)))  # 300 is outside the vocabulary
    with pytest.raises(IndexError):
        engine.step()
    assert model.training
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 0.9)])
def test_plain_batches_for_recurrent_models(temperature: float, top_p: float, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = tiny(
        MambaConfig(vocab_size=300, hidden_size=32, state_size=4, num_hidden_layers=2, eos_token_id=2, pad_token_id=0)
    )
    asked = [*prompts(4), prompts(4)[0]]
    engine = Engine(model, stop_ids={2})
    assert "recurrent" in str(engine.plain_because)
    assert "recurrent" in caplog.text
    done = engine.run([Request(i, ids, Sampling(12, temperature, top_p), i) for i, ids in enumerate(asked)])
    for ids, one in zip(asked, done, strict=True):
        if not temperature:
            assert list(one.tokens) == theirs(model, ids, 12)
        with torch.no_grad():
            logits = model(torch.tensor([ids + one.tokens])).logits[0, len(ids) - 1 : -1].double()
        expected = oracle_logprobs(logits, temperature, top_p)[range(len(one.tokens)), one.tokens]
        # The scan over a whole sequence and the state carried from step to step round differently.
        torch.testing.assert_close(torch.tensor(one.logprobs, dtype=torch.float64), expected, atol=1e-3, rtol=0)


def test_plain_batches_pad_attention_models_on_the_left() -> None:
    from transformers import BloomConfig

    model = tiny(BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=4, eos_token_id=2, pad_token_id=0))
    engine = Engine(model, stop_ids={2})
    assert engine.plain_because is not None
    asked = prompts(5)
    done = engine.run([Request(i, ids, Sampling(10 + i)) for i, ids in enumerate(asked)])
    for i, (ids, one) in enumerate(zip(asked, done, strict=True)):
        assert list(one.tokens) == theirs(model, ids, 10 + i)


def test_a_lora_adapter_is_heard() -> None:
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(
        tiny(CONFIGS["llama"]()), LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")
    )
    asked = prompts(4)
    done = Engine(wrapped, stop_ids={2}).run([Request(i, ids, Sampling(12)) for i, ids in enumerate(asked)])
    for ids, one in zip(asked, done, strict=True):
        assert list(one.tokens) == theirs(wrapped, ids, 12)
    with wrapped.disable_adapter():
        bare = Engine(wrapped, stop_ids={2}).run([Request(i, ids, Sampling(12)) for i, ids in enumerate(asked)])
        assert list(bare[0].tokens) == theirs(wrapped, asked[0], 12)
    assert [one.tokens for one in bare] != [one.tokens for one in done]
