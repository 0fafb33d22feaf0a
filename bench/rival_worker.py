"""TRL's trainer as a worker process: one optimiser step per `go` line, one JSON line per step. Needs no charter.

RIVAL_PYTHON rival_worker.py JOB.json     (written by dpo.py and sft.py)
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

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
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        say(seconds=seconds, loss=float(trainer.seen), tokens=trainer.tokens, slots=trainer.slots, peak_gb=peak)


def in_order(base: type) -> type:
    """The trainer with rows already tokenised and taken in order, as the other side takes them."""

    class Ordered(base):  # type: ignore[misc, valid-type]
        seen: Any = float("nan")
        tokens = slots = 0

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset if dataset is None else dataset)

        def training_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            ids, mask = inputs["input_ids"], inputs.get("attention_mask")
            self.slots, self.tokens = ids.numel(), int(mask.sum()) if mask is not None else ids.numel()
            self.seen = super().training_step(model, inputs, *rest, **more).detach()
            return self.seen

    if base is trl.DPOTrainer:
        # Its tokenisation would add the newline that the template writes behind the end of turn; ids are given.
        Ordered._prepare_dataset = staticmethod(lambda dataset, *_: dataset)  # type: ignore[attr-defined]
    return Ordered


torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16)
tokenizer = AutoTokenizer.from_pretrained(job["model"])
lora = LoraConfig(
    r=job["r"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
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
    # The other side's choices: no autocast (all is bf16 already), activations kept; adapters in bf16, below.
    common |= {"bf16": False, "gradient_checkpointing": False}
rows = datasets.Dataset.from_list(job["rows"])
if job["method"] == "dpo":
    config: Any = trl.DPOConfig(**common, beta=job["beta"])
    trainer: Any = in_order(trl.DPOTrainer)(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora
    )
else:
    config = trl.SFTConfig(**common, packing=job["packing"], completion_only_loss=True)
    trainer = in_order(trl.SFTTrainer)(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora
    )
start = load_file(job["adapter"])
for name, parameter in trainer.model.named_parameters():
    if "lora_" in name:
        if not job["defaults"]:
            parameter.data = parameter.data.to(torch.bfloat16)
        parameter.data.copy_(start.pop(name))
assert not start, sorted(start)
trainer.add_callback(Gate())
adapter = {str(p.dtype) for n, p in trainer.model.named_parameters() if "lora_" in n}
say(
    ready=True,
    versions=f"trl {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}",
    about=f"adapters {', '.join(sorted(adapter))}, autocast bf16 {bool(config.bf16)}, "
    f"checkpointing {bool(config.gradient_checkpointing)}",
)
trainer.train()
