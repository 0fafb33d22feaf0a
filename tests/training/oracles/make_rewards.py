"""TRL's reward loss on random rewards, and ten steps of its RewardTrainer on a tiny random Llama in fp32.

RIVAL_PYTHON tests/training/oracles/make_rewards.py     (an environment with TRL; needs no charter)

The trainer does all of it from text: tokenisation, end of turn, where the reward is read, AdamW, schedule. Model,
words and data are those of `make_trainers.py`, read from what it froze; margins and the head's start are drawn here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import torch
import trl
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
    vocabulary_of,
    watched,
    word_tokenizer,
)
from peft import LoraConfig
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForSequenceClassification

PAIRS = 16
torch.set_num_threads(1)
drawn = torch.Generator().manual_seed(21)
rewards_P2 = 3 * torch.randn(PAIRS, 2, generator=drawn)
margins_P = 2 * torch.rand(PAIRS, generator=drawn)
saved: dict[str, Tensor] = {"rewards_P2": rewards_P2, "margins_P": margins_P}


def loss_of(logits: Tensor, centring: float | None, margins: Tensor | None) -> Tensor:
    """The trainer's own `compute_loss`, on a model whose rewards are given: chosen ones first."""
    made = object.__new__(trl.RewardTrainer)
    same: Any = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x)
    made.__dict__.update(
        model=SimpleNamespace(training=True),
        accelerator=same,
        args=SimpleNamespace(center_rewards_coefficient=centring),
        _metrics={"train": {name: [] for name in ("min_reward", "mean_reward", "max_reward", "accuracy", "margin")}},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {"attention_mask": torch.ones(len(logits), 1)} | ({} if margins is None else {"margin": margins})

    def model(**_: Any) -> Any:
        return SimpleNamespace(logits=logits)

    return trl.RewardTrainer.compute_loss(made, model, inputs)


for name, centring, margins in [
    ("plain", None, None),
    ("margin", None, margins_P),
    ("centred", 0.02, None),
    ("both", 0.02, margins_P),
]:
    leaf = rewards_P2.clone().requires_grad_()
    losses = torch.stack(
        [loss_of(leaf[p][:, None], centring, None if margins is None else margins[p : p + 1]) for p in range(PAIRS)]
    )
    losses.sum().backward()
    saved[f"{name}.losses_P"], saved[f"{name}.gradient_P2"] = losses.detach(), leaf.grad

trainers = load_file(Path(__file__).with_name("trainers.safetensors"))
config = llama(WORDS, tie_word_embeddings=False, num_labels=1)
head_KD = torch.randn(1, 16, generator=drawn) / 17**0.5
spoken = {number: word for word, number in vocabulary_of(WORDS).items()}


def text(row: list[int]) -> str:
    return " ".join(spoken[x] for x in row if x > 1)


sides = {name: [text(row) for row in trainers[f"{name}_RT"].tolist()] for name in ("prompt", "chosen", "rejected")}
margins_R = torch.rand(STEPS * BATCH, generator=drawn)
rows = [
    # The trainer adds the end token behind what is given here; WhitespaceSplit needs the space before it.
    {"prompt": prompt, "chosen": f" {chosen} <end>", "rejected": f" {rejected} <end>", "margin": margin}
    for prompt, chosen, rejected, margin in zip(*sides.values(), margins_R.tolist(), strict=True)
]
saved |= {"head_KD": head_KD, "margins_R": margins_R}


def losses_of(name: str, peft_config: LoraConfig | None, margin: bool, **values: Any) -> None:
    seen: list[float] = []

    model = LlamaForSequenceClassification(config).float()
    model.load_state_dict({**body_of(trainers), "score.weight": head_KD})
    trainer = watched(trl.RewardTrainer, seen)(
        model=model,
        args=arguments(trl.RewardConfig, **values),
        train_dataset=datasets.Dataset.from_list(rows if margin else [{**row, "margin": 0.0} for row in rows]),
        processing_class=word_tokenizer(WORDS),
        peft_config=peft_config,
    )
    if peft_config is not None:
        saved.update({f"adapter.{key}": weight for key, weight in adapter_of(trainer).items()})
    trainer.train()
    assert len(seen) == STEPS
    saved[f"{name}.losses"] = torch.tensor(seen)
    print(name, seen)


losses_of("full", None, False)
losses_of("full_margin_centred", None, True, center_rewards_coefficient=0.01)
losses_of("lora", scored_lora("SEQ_CLS"), False)
freeze("rewards", saved)
