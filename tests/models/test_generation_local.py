"""Conversations in, completions out: the local model, the batch worker, and the shared shape of their answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from charter.models.generation.local import LocalTextModel
from charter.models.generation.worker import BatchWorker
from charter.records import Message, Sampling, user_prompt

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens: every text can be written, none is merged."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    made.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|system|>"]})
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
    )
    made = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() > 1:
                weight.mul_(6.0)
    return made.eval()


PROMPTS = [user_prompt("Where do rivers end?"), user_prompt("Name a bird.", system="Be short."), user_prompt("x" * 90)]


def test_completions_are_consistent(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    seen: list[tuple[int, int]] = []
    local = LocalTextModel.of(model, tokenizer)
    answers = local.generate(PROMPTS, Sampling(60, 1.0, n=3), lambda done, total: seen.append((done, total)))
    assert [len(row) for row in answers] == [3, 3, 3]
    assert seen[-1] == (9, 9)
    for one in (one for row in answers for one in row):
        assert one.logprob == pytest.approx(sum(one.token_logprobs))
        assert len(one.tokens) == len(one.token_logprobs)
        assert one.text == tokenizer.decode(one.tokens, skip_special_tokens=True)
        assert (one.finish == "stop") == (one.tokens[-1] == tokenizer.eos_token_id)
    assert any(one.finish == "stop" for row in answers for one in row)
    assert local.stats.prefills == 3


def test_a_stop_string_ends_the_text_before_it(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    local = LocalTextModel.of(model, tokenizer)
    ((free,),) = local.generate(PROMPTS[:1], Sampling(60))
    stop = free.text[10:13]
    at = free.text.index(stop)
    ((ended,),) = local.generate(PROMPTS[:1], Sampling(60, stop=(stop, "never said")))
    assert ended.text == free.text[:at]
    assert ended.finish == "stop"
    assert ended.tokens == free.tokens[: len(ended.tokens)]
    assert stop in tokenizer.decode(ended.tokens)


def test_a_prompt_over_the_context_is_an_error(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    local = LocalTextModel.of(model, tokenizer)
    answers = local.generate([user_prompt("y" * 300), PROMPTS[0]], Sampling(5, n=2))
    assert [one.finish for one in answers[0]] == ["error", "error"]
    assert "256" in str(answers[0][0].error)
    assert answers[0][0].text == ""
    assert answers[0][0].logprob is None
    assert answers[1][0].error is None


def test_the_worker_answers_as_the_local_model_does(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    local = LocalTextModel.of(model, tokenizer)
    samplings = [Sampling(20 + i, 1.0, seed=i, n=1 + i % 2) for i in range(12)]
    with BatchWorker(local, max_rows=5) as worker, ThreadPoolExecutor(4) as pool:
        futures = list(pool.map(lambda i: worker.submit(PROMPTS[i % 3], samplings[i]), range(12)))
        answers = [future.result(timeout=60) for future in futures]
    for i, (answer, sampling) in enumerate(zip(answers, samplings, strict=True)):
        (expected,) = local.generate([PROMPTS[i % 3]], sampling)
        assert [one.tokens for one in answer] == [one.tokens for one in expected]


def test_the_worker_hands_errors_to_their_caller_only(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    with BatchWorker(LocalTextModel.of(model, tokenizer).local) as worker:
        bad = worker.submit(PROMPTS[0], Sampling(0))
        good = worker.submit(PROMPTS[0], Sampling(5))
        long = worker.submit((Message("user", "z" * 400),), Sampling(5))
        with pytest.raises(ValueError, match="max_tokens"):
            bad.result(timeout=60)
        assert len(good.result(timeout=60)[0].tokens) == 5
        assert long.result(timeout=60)[0].finish == "error"
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(PROMPTS[0], Sampling(5))


def test_closing_without_waiting_fails_what_is_pending(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    before = threading.active_count()
    worker = BatchWorker(LocalTextModel.of(model, tokenizer).local, max_rows=1)
    futures = [worker.submit(PROMPTS[0], Sampling(100, 1.0, seed=i, n=20)) for i in range(20)]
    worker.close(wait=False)
    assert all(future.done() for future in futures)
    assert isinstance(futures[-1].exception(), RuntimeError)
    assert threading.active_count() == before
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_breaks_fails_its_callers_and_the_worker_goes_on(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    with BatchWorker(LocalTextModel.of(model, tokenizer).local) as worker:
        handle = model.lm_head.register_forward_hook(lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
        with pytest.raises(MemoryError):
            worker.submit(PROMPTS[0], Sampling(5)).result(timeout=60)
        handle.remove()
        assert len(worker.submit(PROMPTS[0], Sampling(5)).result(timeout=60)[0].tokens) == 5
