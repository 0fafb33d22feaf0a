"""The provider over the real batching engine, its settings, and its place in Inspect's registry."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from charter.errors import UserError
from charter.evaluation.provider import GatheringWorker, conversation_of_chat, sampling_of
from charter.evaluation.results import read_outcomes
from charter.evaluation.runner import evaluate, log_name
from charter.models.generation.local import LocalTextModel
from charter.models.loading import LocalModel
from charter.models.smollm2 import smollm2_folder
from charter.ports import Progress
from charter.records import Completion, Conversation, Message, Sampling, user_prompt


@pytest.fixture(scope="module")
def tiny() -> LocalModel:
    """A random two-layer Llama with a real chat tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.5,
    )
    return LocalModel("tiny", LlamaForCausalLM(config).eval(), tokenizer, "0" * 64)


def test_inspect_gets_what_the_engine_says(tiny: LocalModel, tmp_path: Path) -> None:
    outcomes = read_outcomes(evaluate(tiny, ["knowledge"], tmp_path, limit=12))
    prompts = [user_prompt(outcome.prompt) for outcome in outcomes]
    direct = LocalTextModel(tiny).generate(prompts, Sampling(max_tokens=16))
    assert [outcome.completion for outcome in outcomes] == [answer[0].text for answer in direct]
    assert len({outcome.completion for outcome in outcomes}) > 6
    assert [outcome.value for outcome in outcomes] == [0.0] * 12


def test_the_digest_names_the_log(tiny: LocalModel) -> None:
    changed = LocalModel("tiny", tiny.model, tiny.tokenizer, "1" * 64)
    assert log_name(tiny, "knowledge") != log_name(changed, "knowledge")
    assert log_name(LocalTextModel(tiny), "knowledge") == log_name(tiny, "knowledge")  # type: ignore[arg-type]
    assert log_name(tiny, "knowledge").startswith("tiny_knowledge_")


def test_settings_are_honoured_or_refused() -> None:
    config = GenerateConfig(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop_seqs=["\n"], num_choices=2)
    assert sampling_of(config) == Sampling(7, 0.5, 0.9, 2, 3, ("\n",))
    assert sampling_of(GenerateConfig(max_tokens=5)) == Sampling(5, 0.0)
    with pytest.raises(UserError, match="top_k"):
        sampling_of(GenerateConfig(top_k=4))


def test_messages_keep_their_roles() -> None:
    chat = [ChatMessageSystem(content="Be brief."), ChatMessageUser(content="Hello")]
    assert conversation_of_chat(chat) == (Message("system", "Be brief."), Message("user", "Hello"))


class Slow:
    """Answers with the prompt itself; fails on "boom"; waits until released, so that requests pile up."""

    name = "slow"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.release = threading.Event()

    def generate(
        self,
        prompts: Sequence[Conversation],
        sampling: Sampling,
        progress: Progress | None = None,  # noqa: ARG002
    ) -> list[list[Completion]]:
        self.release.wait(10)
        self.batches.append(len(prompts))
        if any(prompt[-1].content == "boom" for prompt in prompts):
            raise ConnectionError("no route")
        return [[Completion(f"{prompt[-1].content}/{sampling.max_tokens}")] for prompt in prompts]


def test_gathering_batches_and_keeps_answers_with_their_prompts() -> None:
    model = Slow()
    worker = GatheringWorker(model)
    futures = [worker.submit(user_prompt(str(i)), Sampling(max_tokens=4 + i % 2)) for i in range(100)]
    model.release.set()
    assert [future.result(10)[0].text for future in futures] == [f"{i}/{4 + i % 2}" for i in range(100)]
    assert len(model.batches) < 30
    worker.close()


def test_a_failed_batch_reaches_every_waiter_and_the_worker_lives_on() -> None:
    model = Slow()
    model.release.set()
    worker = GatheringWorker(model)
    with pytest.raises(ConnectionError):
        worker.submit(user_prompt("boom"), Sampling()).result(10)
    assert worker.submit(user_prompt("well"), Sampling()).result(10)[0].text == "well/128"
    worker.close()
