"""Tiny random models, groups and a tokenizer, made in the test: no downloads, no shared state."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto import AutoModelForCausalLM

from charter.models.lora import LoraSettings, add_lora
from charter.records import Exchange, Preference, user_prompt
from charter.training.layout import Group

VOCABULARY = 97
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "attn_implementation": "eager",  # transformers' sdpa knows neither soft caps nor sinks
}
PLAIN = {name: value for name, value in SIZES.items() if name != "head_dim"}
GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 128,
    "attn_implementation": "eager",
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama, tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama, untied, with biases": lambda: LlamaConfig(**SIZES, tie_word_embeddings=False, attention_bias=True),
    "qwen2": lambda: Qwen2Config(**PLAIN),
    "qwen3": lambda: Qwen3Config(**SIZES),
    "gemma2, soft caps": lambda: Gemma2Config(
        **SIZES, sliding_window=6, query_pre_attn_scalar=8, final_logit_softcapping=5.0, attn_logit_softcapping=3.0
    ),
    "gemma3, windows": lambda: Gemma3TextConfig(
        **SIZES,
        sliding_window=6,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "mistral, window 6": lambda: MistralConfig(**SIZES, sliding_window=6),
    "gpt2": lambda: GPT2Config(**GPT2),
    "gpt-oss, sinks": lambda: GptOssConfig(**SIZES, num_local_experts=2, num_experts_per_tok=2, sliding_window=6),
    "granite, logits divided": lambda: GraniteConfig(**PLAIN, logits_scaling=3.0),
    "cohere, logits multiplied": lambda: CohereConfig(**PLAIN, logit_scale=0.5),
}


def tiny_model(name: str = "llama, tied", seed: int = 0, **overrides: Any) -> PreTrainedModel:
    config = CONFIGS[name]()
    for key, value in overrides.items():
        assert hasattr(config, key), key
        setattr(config, key, value)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # initial weights of 0.02 give near-uniform attention, where a wrong mask hardly shows
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(5.0)
    return model.eval()


def with_lora(model: PreTrainedModel, seed: int = 1, **settings: Any) -> Any:
    """Adapters whose B is random: with B = 0 the gradient of A would be zero and could not be checked."""
    adapted = add_lora(model, LoraSettings(**{"r": 4, "alpha": 8, **settings}), seed)
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=drawn) * 0.1)
    return adapted.eval()


def tokens(count: int, drawn: torch.Generator, vocabulary: int = VOCABULARY) -> tuple[int, ...]:
    return tuple(torch.randint(3, vocabulary, (count,), generator=drawn).tolist())


def groups_of(*shapes: tuple[int, ...], seed: int = 0, shared: int = 0) -> list[Group]:
    """A group for each (prompt length, completion length, ...); all prompts begin with `shared` more tokens."""
    drawn = torch.Generator().manual_seed(seed)
    head = tokens(shared, drawn) if shared else ()
    return [
        Group(f"row-{i}", head + tokens(prompt, drawn), tuple(tokens(n, drawn) for n in completions))
        for i, (prompt, *completions) in enumerate(shapes)
    ]


def one_by_one(model: Any, groups: list[Group]) -> torch.Tensor:
    """Completion log-probs from the model's own logits, each completion in a forward of its own: the oracle."""
    parts = []
    for group in groups:
        for completion in group.completions:
            logits = model(input_ids=torch.tensor([group.prompt + completion])).logits[0].float()
            start = len(group.prompt) - 1
            rows = logits[start : start + len(completion)].log_softmax(-1)
            parts.append(rows[range(len(completion)), completion])
    return torch.cat(parts)


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(
    template: str | None = CHATML, special: tuple[str, ...] = ("<|im_start|>", "<|im_end|>"), **named: str
) -> PreTrainedTokenizerFast:
    """A token a byte, plus special tokens; any text survives encoding and decoding."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    reserved = ["<pad>", *special, *(v for v in named.values() if v not in special)]
    vocabulary = {token: i for i, token in enumerate([*reserved, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True) for token in reserved])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", additional_special_tokens=list(special), **named
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_folder(folder: Path, seed: int = 0, **overrides: Any) -> Path:
    """A model folder, as transformers saves one, of a tiny Llama with a byte tokenizer and a ChatML template."""
    tokenizer = byte_tokenizer(eos_token="<|im_end|>")
    config = LlamaConfig(**{**SIZES, "vocab_size": len(tokenizer), "attn_implementation": "sdpa", **overrides})
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def metrics(run: Path) -> list[dict[str, Any]]:
    """What a training logged, a row a step."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def preferences(count: int = 8, **more: Any) -> list[Preference]:
    """Pairs that a tiny model can learn to tell apart."""
    return [Preference(f"p{i}", user_prompt(f"Say {i}."), f"Gladly: {i}.", f"No {i}.", **more) for i in range(count)]


def exchanges(pairs: list[Preference]) -> list[Exchange]:
    """Both sides of each pair, the chosen one first."""
    return [Exchange(f"{p.id}/{i}", p.prompt, side) for p in pairs for i, side in enumerate((p.chosen, p.rejected))]
