"""TRL's step labels on random rows, and ten steps of its PRMTrainer on a tiny random Llama in fp32.

RIVAL_PYTHON tests/training/oracles/make_process.py     (an environment with TRL up to 1.12; needs no charter)

The trainer has two logits a token, right and wrong; a model of ours has their difference. The wrong one is held at zero
here (its weights start there and get no gradient), so that the difference is what is trained, at the same rate.
The model's start is that of `make_trainers.py`, read from what it froze; words, labels and the head's start are drawn.
"""

from __future__ import annotations

from pathlib import Path

import datasets
import torch
from common import (
    BATCH,
    STEPS,
    WORDS,
    adapter_of,
    arguments,
    body_of,
    freeze,
    llama,
    scored_lora,
    watched,
    word_tokenizer,
)
from peft import LoraConfig
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForTokenClassification
from trl.experimental.prm import PRMConfig, PRMTrainer

LONGEST = 40
torch.set_num_threads(1)
drawn = torch.Generator().manual_seed(31)
trainers = load_file(Path(__file__).with_name("trainers.safetensors"))
tokenizer = word_tokenizer(WORDS)
SEPARATOR = "w59 w58"
"""Two tokens; no other text has them."""


def number(low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=drawn))


def words(low: int, high: int) -> str:
    return " ".join(f"w{number(0, 58)}" for _ in range(number(low, high)))


rows = []
for _ in range(STEPS * BATCH):
    count = number(1, 5)
    rows.append(
        {
            "prompt": words(2, 9),
            "completions": [words(1, 6) for _ in range(count)],
            "labels": [bool(number(0, 2)) for _ in range(count)],
        }
    )
head_D = torch.randn(16, generator=drawn) / 17**0.5
saved: dict[str, Tensor] = {"head_KD": head_D[None], "prompt_R": torch.tensor([len(r["prompt"].split()) for r in rows])}
for name, last in (("all", False), ("last", True)):
    made = [PRMTrainer.tokenize_row(row, tokenizer, SEPARATOR, None, None, last, False) for row in rows]
    for column, empty in (("input_ids", 0), ("labels", -100)):
        padded = [one[column] + [empty] * (LONGEST - len(one[column])) for one in made]
        saved[f"{name}.{column}_RT"] = torch.tensor(padded)
config = llama(WORDS, num_labels=2)


def losses_of(name: str, peft_config: LoraConfig | None, last: bool) -> None:
    seen: list[float] = []

    model = LlamaForTokenClassification(config).float()
    head = {"score.weight": torch.stack([torch.zeros(16), head_D]), "score.bias": torch.zeros(2)}
    model.load_state_dict({**body_of(trainers), **head})
    trainer = watched(PRMTrainer, seen)(
        model=model,
        args=arguments(PRMConfig, step_separator=SEPARATOR, train_on_last_step_only=last),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=peft_config,
    )
    for key, weight in trainer.model.named_parameters():
        if "score" in key and weight.requires_grad:
            right = torch.tensor([0.0, 1.0]).view(2, *[1] * (weight.dim() - 1))
            weight.register_hook(lambda grad, right=right: grad * right)
    if peft_config is not None:
        saved.update({f"adapter.{key}": weight for key, weight in adapter_of(trainer).items()})
    trainer.train()
    assert len(seen) == STEPS
    saved[f"{name}.losses"] = torch.tensor(seen)
    print(name, seen)


losses_of("full", None, False)
losses_of("full_last", None, True)
losses_of("lora", scored_lora("TOKEN_CLS"), False)
freeze("process", saved)
