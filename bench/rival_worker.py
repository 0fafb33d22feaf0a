"""TRL's trainer as a worker process: one optimiser step per `go` line, one JSON line per step. Needs no charter.

RIVAL_PYTHON rival_worker.py JOB.json     (written by the benches)
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
from peft import LoraConfig
from resident import GB, peak, resting
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback

job = json.loads(Path(sys.argv[1]).read_text())
out = sys.stdout
sys.stdout = sys.stderr


def say(**values: Any) -> None:
    out.write(json.dumps(values) + "\n")
    out.flush()


class Gate(TrainerCallback):
    """Waits for `go` before each optimiser step and reports it after."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if sys.stdin.readline().strip() != "go":
            sys.exit(0)
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seconds = time.perf_counter() - self.begun
        say(seconds=seconds, loss=float(trainer.seen), peak_gb=peak() / GB, **trainer.ran)


def in_order(base: type) -> type:
    """The trainer with rows already tokenised and taken in order, as the other side takes them."""

    class Ordered(base):  # type: ignore[misc, valid-type]
        seen: Any = float("nan")
        ran: dict[str, int]

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset if dataset is None else dataset)

        def training_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            self.ran = positions(inputs)
            self.seen = super().training_step(model, inputs, *rest, **more).detach()
            return self.seen

    if base in (trl.DPOTrainer, trl.KTOTrainer):
        # Their tokenisation would add the newline that the template writes behind the end of turn; ids are given.
        Ordered._prepare_dataset = staticmethod(lambda dataset, *_: dataset)  # type: ignore[attr-defined]
    return Ordered


def positions(inputs: Any) -> dict[str, int]:
    """Tokens without padding; positions run with a backward pass, and those run only forward."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    slots = ids.numel()
    # The reference's pass; KTO's mismatched rows under policy and reference.
    forward = {"dpo": slots, "kto": slots + 2 * inputs.get("KL_input_ids", ids).numel()}.get(job["method"], 0)
    return {"tokens": int(mask.sum()) if mask is not None else slots, "slots": slots, "forward_slots": forward}


def passed_on(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """KTO's rows with the completion of the row before in their batch, as its own preparation passes them on."""
    size = job["batch"]
    return [
        {**row, "KL_completion_ids": rows[i - 1 if i % size else min(i + size, len(rows)) - 1]["completion_ids"]}
        for i, row in enumerate(rows)
    ]


transformers.utils.logging.disable_progress_bar()
datasets.disable_progress_bars()
torch.manual_seed(0)
dtype = getattr(torch, job["dtype"])
start = load_file(job["adapter"])
head = start.pop("score", None)
if head is None:
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
else:
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], dtype=dtype, num_labels=1)
    model.score.weight.data.copy_(head)
tokenizer = AutoTokenizer.from_pretrained(job["model"])
lora = LoraConfig(
    r=job["r"],
    lora_alpha=job["alpha"],
    lora_dropout=0.0,
    target_modules=sorted({name.split(".")[-4] for name in start}),
    modules_to_save=None if head is None else ["score"],
    task_type="CAUSAL_LM" if head is None else "SEQ_CLS",
)
common: dict[str, Any] = {
    "output_dir": job["scratch"],
    "use_cpu": not torch.cuda.is_available(),
    "per_device_train_batch_size": job["batch"],
    "learning_rate": job["learning_rate"],
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "max_steps": job["steps"],
    "logging_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "seed": 0,
    "max_length": job["max_length"],
}
if not job["defaults"]:
    # The other side's choices: no autocast (all has one dtype already), activations kept; adapters cast, below.
    common |= {"bf16": False, "gradient_checkpointing": False}
given = job["rows"]
if job["method"] == "dpo":
    kind, config = trl.DPOTrainer, trl.DPOConfig(**common, beta=job["beta"])
elif job["method"] == "kto":
    kind, config, given = trl.KTOTrainer, trl.KTOConfig(**common, beta=job["beta"]), passed_on(given)
elif job["method"] == "reward":
    kind, config = trl.RewardTrainer, trl.RewardConfig(**common)
    given = [
        {"chosen_ids": row["prompt_ids"] + row["chosen_ids"], "rejected_ids": row["prompt_ids"] + row["rejected_ids"]}
        for row in given
    ]
else:
    kind, config = trl.SFTTrainer, trl.SFTConfig(**common, packing=job["packing"], completion_only_loss=True)
trainer: Any = in_order(kind)(
    model=model,
    args=config,
    train_dataset=datasets.Dataset.from_list(given),
    processing_class=tokenizer,
    peft_config=lora,
)
for name, parameter in trainer.model.named_parameters():
    if "lora_" in name:
        if not job["defaults"]:
            parameter.data = parameter.data.to(dtype)
        parameter.data.copy_(start.pop(name))
assert not start, sorted(start)
trainer.remove_callback(transformers.PrinterCallback)
trainer.add_callback(Gate())
adapter = {str(p.dtype) for n, p in trainer.model.named_parameters() if "lora_" in n}
say(
    ready=True,
    versions=f"trl {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}",
    about=f"adapters {', '.join(sorted(adapter))}, autocast bf16 {bool(config.bf16)}, "
    f"checkpointing {bool(config.gradient_checkpointing)}",
    resting_gb=resting(trainer.model) / GB,
)
trainer.train()
