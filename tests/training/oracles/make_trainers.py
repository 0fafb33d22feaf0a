"""Ten steps of TRL's SFT, DPO and KTO trainers on a tiny random Llama in fp32: losses, frozen for `test_oracles.py`.

RIVAL_PYTHON tests/training/oracles/make_trainers.py     (an environment with TRL; needs no charter)

TRL does all of it from text: tokenisation, end of turn, batches, KL pairs, reference, AdamW, linear schedule.
"""

from __future__ import annotations

import random
import tempfile
from typing import Any

import datasets
import torch
import trl
from common import BATCH, STEPS, WORDS, adapter_of, arguments, freeze, llama, watched, word_tokenizer
from peft import LoraConfig
from torch import Tensor
from transformers import LlamaForCausalLM

BETA = 0.3
torch.set_num_threads(1)
tokenizer = word_tokenizer(WORDS)
config = llama(WORDS, tie_word_embeddings=False)
torch.manual_seed(5)
start = LlamaForCausalLM(config).float()
with torch.no_grad():  # initial weights of 0.02 give near-uniform logits, where little can be wrong
    for weight in start.parameters():
        if weight.dim() > 1:
            weight.mul_(8.0)
folder = tempfile.mkdtemp()
start.save_pretrained(folder)
drawn = random.Random(3)


def words(least: int, most: int) -> str:
    return " ".join(f"w{drawn.randrange(WORDS)}" for _ in range(drawn.randint(least, most)))


rows = [
    {"prompt": words(3, 6), "chosen": " " + words(1, 8), "rejected": " " + words(1, 8)} for _ in range(STEPS * BATCH)
]
labels = [drawn.random() < 0.5 for _ in rows]
assert len({row["prompt"] for row in rows}) == len(rows)


def losses_of(kind: type, settings: Any, data: list[dict[str, Any]], **values: Any) -> tuple[Tensor, Any]:
    seen: list[float] = []

    trainer = watched(kind, seen)(
        model=LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=settings,
        train_dataset=datasets.Dataset.from_list(data),
        processing_class=tokenizer,
        **values,
    )
    adapter = adapter_of(trainer)
    trainer.train()
    assert len(seen) == STEPS
    print(kind.__name__, seen)
    return torch.tensor(seen), adapter


def table(texts: list[str], end: str = "") -> Tensor:
    ids = [tokenizer(text + end)["input_ids"] for text in texts]
    longest = max(map(len, ids))
    return torch.tensor([row + [-1] * (longest - len(row)) for row in ids], dtype=torch.int32)


END = " <end>"
singles = [
    {"prompt": row["prompt"], "completion": row["chosen" if label else "rejected"], "label": label}
    for row, label in zip(rows, labels, strict=True)
]
lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
saved: dict[str, Tensor] = {f"start.{name}": weight for name, weight in start.state_dict().items()}
saved |= {
    "prompt_RT": table([row["prompt"] for row in rows]),
    "chosen_RT": table([row["chosen"] for row in rows], END),
    "rejected_RT": table([row["rejected"] for row in rows], END),
    "desirable_R": torch.tensor(labels),
}
demonstrations = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
saved["sft.losses"], _ = losses_of(
    trl.SFTTrainer, arguments(trl.SFTConfig, completion_only_loss=True, packing=False), demonstrations
)
saved["dpo.losses"], _ = losses_of(trl.DPOTrainer, arguments(trl.DPOConfig, beta=BETA), rows)
saved["dpo_lora.losses"], adapter = losses_of(
    trl.DPOTrainer, arguments(trl.DPOConfig, beta=BETA), rows, peft_config=lora
)
saved |= {f"adapter.{name}": weight for name, weight in adapter.items()}
weights = {"desirable_weight": 1.2, "undesirable_weight": 0.8}
saved["kto.losses"], _ = losses_of(trl.KTOTrainer, arguments(trl.KTOConfig, beta=BETA, **weights), singles)
freeze("trainers", saved)
