"""TRL's step labels on random rows, and ten steps of its PRMTrainer on a tiny random Llama in fp32.

RIVAL_PYTHON tests/training/oracles/make_process.py     (an environment with TRL up to 1.12; needs no charter)

The trainer has two logits a token, right and wrong; a model of ours has their difference. The wrong one is held at zero
here (its weights start there and get no gradient), so that the difference is what is trained, at the same rate.
The model's start is that of `make_trainers.py`, read from what it froze; words, labels and the head's start are drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import datasets
import torch
import trl
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForTokenClassification, PreTrainedTokenizerFast
from trl.experimental.prm import PRMConfig, PRMTrainer

STEPS, BATCH, RATE, WORDS, LONGEST = 10, 4, 1e-2, 60, 40
torch.set_num_threads(1)
drawn = torch.Generator().manual_seed(31)
trainers = load_file(Path(__file__).with_name("trainers.safetensors"))
vocabulary = {"<pad>": 0, "<end>": 1, **{f"w{i}": i + 2 for i in range(WORDS)}}
inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")
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
    num_labels=2,
)


def losses_of(name: str, peft_config: LoraConfig | None, last: bool) -> None:
    seen: list[float] = []

    class Watched(PRMTrainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **more: Any) -> Tensor:
            loss = super().training_step(*args, **more)
            seen.append(float(loss))
            return loss

    model = LlamaForTokenClassification(config).float()
    start = {key.removeprefix("start."): x for key, x in trainers.items() if key.startswith("start.")}
    del start["lm_head.weight"]
    head = {"score.weight": torch.stack([torch.zeros(16), head_D]), "score.bias": torch.zeros(2)}
    model.load_state_dict({**start, **head})
    trainer = Watched(
        model=model,
        args=PRMConfig(
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
            step_separator=SEPARATOR,
            train_on_last_step_only=last,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=peft_config,
    )
    for key, weight in trainer.model.named_parameters():
        if "score" in key and weight.requires_grad:
            right = torch.tensor([0.0, 1.0]).view(2, *[1] * (weight.dim() - 1))
            weight.register_hook(lambda grad, right=right: grad * right)
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
    task_type="TOKEN_CLS",
)
losses_of("full", None, False)
losses_of("full_last", None, True)
losses_of("lora", lora, False)
save_file(
    {name: tensor.contiguous() for name, tensor in saved.items()},
    Path(__file__).with_name("process.safetensors"),
    {"made with": f"trl {trl.__version__}, torch {torch.__version__}"},
)
for name, tensor in saved.items():
    print(name, tuple(tensor.shape), tensor.flatten()[:4].tolist())
