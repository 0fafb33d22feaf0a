"""LoRA through peft: adapters in the model's own dtype, saved as adapter folders that name their base."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from charter.errors import UserError
from charter.models.quantize import Quantization

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LoraSettings(BaseModel):
    """Low-rank adapters (Hu et al. 2021)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(16, ge=1, description="Rank of the update.")
    alpha: int = Field(32, gt=0, description="The update is scaled by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapter.")
    targets: str | tuple[str, ...] = Field(
        "all-linear",
        description='Names of the layers to adapt, or "all-linear" (all but the head); never the output head.',
    )
    dora: bool = Field(
        False, description="Learn each output's magnitude apart from its direction (Liu et al. 2024, arXiv 2402.09353)."
    )
    quantize: Quantization | None = Field(
        None, description="4bit holds the frozen base in 4 bits (QLoRA; Dettmers et al. 2023), on CUDA."
    )
    rank_stabilised: bool = Field(
        False, description="Scale by alpha / sqrt(r) in the place of alpha / r (Kalajdzievski 2023, arXiv 2312.03732)."
    )


def add_lora(model: PreTrainedModel, settings: LoraSettings, seed: int) -> PeftModel:
    """Put fresh adapters on a model; only they are trainable. The B matrices are zero: the output is unchanged.

    Adapters take the model's dtype (peft would upcast them to fp32, and each forward would then cast and multiply
    in fp32); the optimiser keeps fp32 master copies, see `training/optimizer.py`.
    Raises UserError when a target names no layer.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.targets if isinstance(settings.targets, str) else list(settings.targets),
        use_dora=settings.dora,
        use_rslora=settings.rank_stabilised,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        except ValueError as error:
            raise UserError(f"LoRA cannot be put on this model: {error} Check `lora.targets`.") from None
    # On layers of 4 bits there is no dtype to take, and peft makes fp32 ones.
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(model.dtype)
    return adapted


def check_same_form(settings: LoraSettings, config: LoraConfig, name: str) -> None:
    """Raises UserError when the settings ask for another form of adapter than the one that goes on being trained."""
    for option, there in (("dora", config.use_dora), ("rank_stabilised", config.use_rslora)):
        wanted = getattr(settings, option)
        if option in settings.model_fields_set and wanted != there:
            raise UserError(
                f'lora.{option} is {str(wanted).lower()}, and the adapter "{name}", which training goes on from, was '
                f"made with {str(there).lower()}. Leave the option out, or start from a model without adapters."
            )


def save_adapter(
    model: PeftModel,
    base: str,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the adapter and the tokenizer to `folder`, whole or not at all. `base` is the base's one-string name.

    state: the weights by their names in `model`, where the model itself holds only a part of each.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    config: Any = model.peft_config["default"]
    config.base_model_name_or_path = base
    with tempfile.TemporaryDirectory(prefix=".adapter-", dir=folder.parent) as temporary:
        building = Path(temporary) / "adapter"
        # The base is never resized here; left to itself peft would ask the hub for the base's vocabulary.
        model.save_pretrained(str(building), save_embedding_layers=False, state_dict=state)
        tokenizer.save_pretrained(str(building))
        replace_folder(building, folder)


def replace_folder(new: Path, target: Path) -> None:
    """Put a finished folder in the place of an older one."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    if old.exists():
        import shutil

        shutil.rmtree(old)
