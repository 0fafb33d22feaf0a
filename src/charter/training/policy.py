"""The model being trained: loaded with trainable weights, saved as an adapter or a whole model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.models.loading import ADAPTER_CONFIG, load_model, resolve
from charter.models.lora import LoraSettings, add_lora, check_same_form, replace_folder, save_adapter
from charter.models.reward_head import RewardHead, refuse_head
from charter.models.template import ChatFormat, chat_format
from charter.training.devices import here

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Policy:
    """A model with trainable weights. `base` is the one-string name under the adapter (None when all are trained).

    `head` is what a reward model reads rewards with; it is saved in the same folder.
    """

    model: PreTrainedModel
    format: ChatFormat
    digest: str
    base: str | None
    head: RewardHead | None = None

    def save(self, folder: Path) -> None:
        """Write the adapter (or the whole model), tokenizer and reward head to `folder`: whole or not at all."""
        devices = here()
        state = devices.gather_state(self.model, trained_only=self.base is not None)
        head = devices.gather_state(self.head, trained_only=False) if self.head is not None else None
        if devices.first:
            self._write(folder, state, head)
        devices.barrier()

    def _write(self, folder: Path, state: dict[str, Tensor] | None, head: dict[str, Tensor] | None) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".model-", dir=folder.parent) as temporary:
            building = Path(temporary) / "model"
            if self.base is not None:
                save_adapter(self.model, self.base, self.format.tokenizer, building, state)  # type: ignore[arg-type]
            else:
                self.model.save_pretrained(str(building), state_dict=state)
                self.format.tokenizer.save_pretrained(str(building))
            if self.head is not None:
                self.head.save(building, head)
            replace_folder(building, folder)


def trainable_policy(name: str, lora: LoraSettings | None, seed: int) -> Policy:
    """Load a model to train.

    With `lora`, a plain model gets fresh adapters; an adapter folder goes on training its own adapters. Without,
    every weight is trained (an adapter is merged first). Raises UserError when the name is no model, or a reward
    model, or its chat template cannot be masked.
    """
    refuse_head(name)
    return load_trainable(name, lora, seed)


def load_trainable(name: str, lora: LoraSettings | None, seed: int) -> Policy:
    """`trainable_policy`, for what keeps the reward head that may be there."""
    folder = resolve(name)
    is_adapter = isinstance(folder, Path) and (folder / ADAPTER_CONFIG).exists()
    quantize = lora.quantize if lora else None
    loaded = load_model(name, merge=lora is None, quantize=quantize)
    # What a 4-bit base says is not what the whole one says: nothing that was kept of the one serves the other.
    digest = f"{loaded.digest} in {quantize}" if quantize else loaded.digest
    format_ = chat_format(loaded.tokenizer)
    model: Any = loaded.model
    if lora is None:
        model.requires_grad_(True)
        return Policy(model, format_, loaded.digest, None)
    if is_adapter:
        check_same_form(lora, model.peft_config["default"], name)
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in parameter_name)
        return Policy(model, format_, digest, str(model.peft_config["default"].base_model_name_or_path))
    adapted: Any = add_lora(model, lora, seed)
    return Policy(adapted, format_, digest, name)
