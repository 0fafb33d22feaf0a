"""A base held in 4 bits under its adapters: QLoRA (Dettmers et al. 2023, arXiv 2305.14314), through bitsandbytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from charter.errors import UserError
from charter.models.extras import require

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

Quantization = Literal["4bit"]


def check_quantizable() -> None:
    """Raises UserError where there is no CUDA device or bitsandbytes is missing."""
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "`lora: {quantize: 4bit}` needs a CUDA device, and there is none here. Leave `quantize` out; "
            "`gradient_checkpointing: true` and a smaller `row_tokens` save memory on any device."
        )
    require("bitsandbytes", "`lora: {quantize: 4bit}`")


def four_bit() -> BitsAndBytesConfig:
    """QLoRA's form: normal floats of 4 bits, their scales quantized once more, products in bf16."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def loading_arguments(quantize: Quantization | None) -> dict[str, Any]:
    """What `from_pretrained` is given beyond the dtype. Raises UserError where weights cannot be quantized."""
    if quantize is None:
        return {}
    check_quantizable()
    import torch

    # Quantized on their way to the device: the whole weights never stand there.
    return {"quantization_config": four_bit(), "device_map": {"": torch.cuda.current_device()}}
