"""TRL's reward loss on random rewards, and ten steps of its RewardTrainer on a tiny random Llama in fp32.

RIVAL_PYTHON tests/training/oracles/make_rewards.py     (an environment with TRL; needs no charter)

The trainer does all of it from text: tokenisation, end of turn, where the reward is read, AdamW, schedule. Model,
words and data are those of `make_trainers.py`, read from what it froze; margins and the head's start are drawn here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import torch
import trl
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

PAIRS, STEPS, BATCH, RATE, WORDS = 16, 10, 4, 1e-2, 60
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
vocabulary = {"<pad>": 0, "<end>": 1, **{f"w{i}": i + 2 for i in range(WORDS)}}
inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")
config = LlamaConfig(
    vocab_size=len(vocabulary),
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    pad_token_id=0,
    eos_token_id=1,
    bos_token_id=None,
    tie_word_embeddings=False,
    num_labels=1,
)
head_KD = torch.randn(1, 16, generator=drawn) / 17**0.5
spoken = {number: word for word, number in vocabulary.items()}


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

    class Watched(trl.RewardTrainer):  # type: ignore[misc, name-defined]
        def training_step(self, *args: Any, **more: Any) -> Tensor:
            loss = super().training_step(*args, **more)
            seen.append(float(loss))
            return loss

    model = LlamaForSequenceClassification(config).float()
    start = {key.removeprefix("start."): x for key, x in trainers.items() if key.startswith("start.")}
    del start["lm_head.weight"]
    model.load_state_dict({**start, "score.weight": head_KD})
    trainer = Watched(
        model=model,
        args=trl.RewardConfig(
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
        ),
        train_dataset=datasets.Dataset.from_list(rows if margin else [{**row, "margin": 0.0} for row in rows]),
        processing_class=tokenizer,
        peft_config=peft_config,
    )
    if peft_config is not None:
        adapter = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if "lora_" in n}
        saved.update({f"adapter.{key}": weight for key, weight in adapter.items()})
    trainer.train()
    assert len(seen) == STEPS
    saved[f"{name}.losses"] = torch.tensor(seen)
    print(name, seen)


lora = LoraConfig(
    r=4,
    lora_alpha=8,
    lora_dropout=0.0,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    modules_to_save=["score"],
    task_type="SEQ_CLS",
)
losses_of("full", None, False)
losses_of("full_margin_centred", None, True, center_rewards_coefficient=0.01)
losses_of("lora", lora, False)
save_file(
    {name: tensor.contiguous() for name, tensor in saved.items()},
    Path(__file__).with_name("rewards.safetensors"),
    {"made with": f"trl {trl.__version__}, torch {torch.__version__}"},
)
for name, tensor in saved.items():
    print(name, tuple(tensor.shape), tensor.flatten()[:4].tolist())
