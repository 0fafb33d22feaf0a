"""TRL's GRPOTrainer, or transformers' generation, as a worker: one turn per `go` line, one JSON line per turn.

RIVAL_PYTHON rl_rival.py JOB.json     (written by bench/rl.py; needs no charter)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl
from peft import LoraConfig, get_peft_model
from resident import GB, peak, resting
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ContinuousBatchingConfig,
    GenerationConfig,
    TrainerCallback,
)

job = json.loads(Path(sys.argv[1]).read_text())
out = sys.stdout
sys.stdout = sys.stderr
transformers.utils.logging.disable_progress_bar()
datasets.disable_progress_bars()
torch.manual_seed(0)
dtype = getattr(torch, job["dtype"])
tokenizer = AutoTokenizer.from_pretrained(job["model"])
lora = LoraConfig(
    r=job["r"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules=job["targets"], task_type="CAUSAL_LM"
)


def say(**values: Any) -> None:
    out.write(json.dumps(values) + "\n")
    out.flush()


def hello(model: Any, about: str) -> None:
    """The first line: what runs here."""
    versions = f"trl {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    say(ready=True, versions=versions, about=about, resting_gb=resting(model) / GB)


def told_to_go() -> bool:
    """Whether another turn is wanted."""
    return sys.stdin.readline().strip() == "go"


def letters(completions: list[Any], **_: Any) -> list[float]:
    """The reward of both sides: how many different characters a completion has."""
    return [float(len(set(one[0]["content"]))) for one in completions]


class Gate(TrainerCallback):
    """Waits for `go` before each step and reports it after."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if not told_to_go():
            sys.exit(0)
        self.begun = time.perf_counter()
        trainer.rollout, trainer.sampled = 0.0, 0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seconds = time.perf_counter() - self.begun
        say(
            seconds=seconds, rollout=trainer.rollout, tokens=trainer.sampled, loss=float(trainer.seen),
            peak_gb=peak() / GB,
        )  # fmt: skip


class Timed(trl.GRPOTrainer):  # type: ignore[misc]
    """The trainer, which says how long generation took and how many tokens it gave."""

    rollout, sampled, seen = 0.0, 0, float("nan")

    def _generate_single_turn(self, *args: Any, **more: Any) -> Any:
        begun = time.perf_counter()
        found = super()._generate_single_turn(*args, **more)
        self.rollout += time.perf_counter() - begun
        self.sampled += sum(len(ids) for ids in found[0])
        return found

    def training_step(self, *args: Any, **more: Any) -> Any:
        self.seen = super().training_step(*args, **more).detach()
        return self.seen


def train() -> None:
    """GRPO, as many steps as the job has turns."""
    global trainer
    config = trl.GRPOConfig(
        output_dir=job["scratch"], use_cpu=not torch.cuda.is_available(), num_generations=job["group"],
        per_device_train_batch_size=job["batch"] * job["group"], max_completion_length=job["sample_tokens"],
        temperature=1.0, beta=job["beta"], loss_type="grpo", learning_rate=job["learning_rate"],
        lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, max_steps=job["steps"],
        shuffle_dataset=False, logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True, seed=0,
        use_transformers_continuous_batching=job.get("continuous", False),
        **({"transformers_continuous_batching_config": paged(job["batch"] * job["group"], 512)}
           if job.get("continuous") else {}),
        **({} if job["defaults"] else {"bf16": False, "gradient_checkpointing": False}),
    )  # fmt: skip
    trainer = Timed(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype),
        reward_funcs=letters,
        args=config,
        train_dataset=datasets.Dataset.from_list([{"prompt": messages} for messages in job["rows"]]),
        processing_class=tokenizer,
        peft_config=lora,
    )
    if not job["defaults"]:
        for name, parameter in trainer.model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(dtype)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(Gate())
    adapter = {str(p.dtype) for n, p in trainer.model.named_parameters() if "lora_" in n}
    about = f"adapters {', '.join(sorted(adapter))}, autocast {bool(config.bf16)}"
    hello(trainer.model, f"{about}, checkpointing {bool(config.gradient_checkpointing)}")
    trainer.train()


def generate() -> None:
    """Rollouts alone: `group` samples of each prompt of a turn, in one padded batch or by continuous batching."""
    plain = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    model: Any = get_peft_model(plain, lora, autocast_adapter_dtype=False).eval()
    how = GenerationConfig(
        max_new_tokens=job["sample_tokens"], do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    hello(model, "continuous batching" if job["continuous"] else "generate, left-padded")
    size = job["batch"]
    for number in range(job["steps"]):
        if not told_to_go():
            return
        turn = job["rows"][number * size : (number + 1) * size]
        ids = [tokenizer.apply_chat_template(m, add_generation_prompt=True, return_dict=False) for m in turn]
        repeated = [one for one in ids for _ in range(job["group"])]
        begun = time.perf_counter()
        with torch.no_grad():
            sampled = continuous(model, repeated, how) if job["continuous"] else padded(model, repeated, how)
        seconds = time.perf_counter() - begun
        say(seconds=seconds, rollout=seconds, tokens=sampled, loss=0.0, peak_gb=peak() / GB)


def paged(requests: int, longest: int) -> dict[str, int]:
    """Of continuous batching: a cache that just holds all requests at once, in place of 9/10 of the memory."""
    return {"num_blocks": requests * (longest // 256 + 1), "max_batch_tokens": 2048}


def continuous(model: Any, prompts: list[list[int]], how: Any) -> int:
    """Sampled tokens of transformers' continuous batching."""
    config = ContinuousBatchingConfig(**paged(len(prompts), max(map(len, prompts)) + how.max_new_tokens))
    found = model.get_base_model().generate_batch(
        prompts, generation_config=how, continuous_batching_config=config, progress_bar=False
    )
    return sum(len(one.generated_tokens) for one in found.values())


def padded(model: Any, prompts: list[list[int]], how: Any) -> int:
    """Sampled tokens of `generate`, up to each row's own end."""
    width = max(map(len, prompts))
    pad = how.pad_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    ids, mask = ids.to(model.device), mask.to(model.device)
    rows = model.generate(input_ids=ids, attention_mask=mask, generation_config=how)[:, width:].tolist()
    end = how.eos_token_id
    return sum(row.index(end) + 1 if end in row else len(row) for row in rows)


trainer: Any = None
train() if job["part"] == "step" else generate()
