"""What the scripts beside this one share: a tiny Llama over words, arguments of TRL's trainers, losses as they come.

For the rival's environment; needs no charter.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import trl
from peft import LoraConfig
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

STEPS, BATCH, RATE, WORDS = 10, 4, 1e-2, 60
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def vocabulary_of(words: int) -> dict[str, int]:
    """Padding, an end, and so many words."""
    return {"<pad>": 0, "<end>": 1, **{f"w{i}": i + 2 for i in range(words)}}


def word_tokenizer(words: int) -> PreTrainedTokenizerFast:
    """A token a word, split at spaces."""
    inner = Tokenizer(models.WordLevel(vocabulary_of(words), unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")


def llama(words: int, **values: Any) -> LlamaConfig:
    """The configuration of a tiny Llama over those words."""
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    return LlamaConfig(vocab_size=len(vocabulary_of(words)), **{**sizes, **ends, **values})


def arguments(kind: type, **values: Any) -> Any:
    """A trainer's arguments: fp32 on the CPU, one epoch in the order of the rows, AdamW with a linear schedule."""
    return kind(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        num_train_epochs=1,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        train_sampling_strategy="sequential",
        seed=0,
        **values,
    )


def watched(kind: type, seen: list[float]) -> type:
    """A trainer that notes each step's loss."""

    class Watched(kind):  # type: ignore[misc, valid-type]
        def training_step(self, *args: Any, **more: Any) -> Tensor:
            loss = super().training_step(*args, **more)
            seen.append(float(loss))
            return loss

    Watched.__name__ = kind.__name__
    return Watched


def adapter_of(trainer: Any) -> dict[str, Tensor]:
    """Copies of the adapter's weights; nothing without one."""
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters() if "lora_" in name}


def body_of(trainers: dict[str, Tensor]) -> dict[str, Tensor]:
    """The frozen start of `make_trainers.py` without its output head."""
    start = {key.removeprefix("start."): x for key, x in trainers.items() if key.startswith("start.")}
    del start["lm_head.weight"]
    return start


def scored_lora(task: str) -> LoraConfig:
    """An adapter on all linear layers of the body, beside a head that is trained whole."""
    return LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, target_modules=LINEAR, modules_to_save=["score"], task_type=task
    )


def freeze(name: str, saved: dict[str, Tensor]) -> None:
    """Write what was found beside this file, and show it."""
    save_file(
        {key: tensor.contiguous() for key, tensor in saved.items()},
        Path(__file__).with_name(f"{name}.safetensors"),
        {"made with": f"trl {trl.__version__}, torch {torch.__version__}"},
    )
    for key, tensor in saved.items():
        print(key, tuple(tensor.shape), tensor.flatten()[:4].tolist())
