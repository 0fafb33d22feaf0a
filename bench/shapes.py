"""Small Llamas with random weights, for benches where the shape matters and what the model says does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rows import ROOT

FOLDER = ROOT / "build" / "bench" / "models"


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a model; heads of 64 (32 in narrow ones), a third of them for keys, tied embeddings, as in SmolLM2."""

    hidden: int
    layers: int
    vocabulary: int = 49_152

    @property
    def name(self) -> str:
        """Also the folder's name."""
        return f"llama-{self.hidden}x{self.layers}-{self.vocabulary // 1000}k"


def random_llama(shape: LlamaShape) -> Path:
    """The folder of a bf16 model of this shape, made on first use. Its tokenizer is SmolLM2's; no text is needed."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from charter.models.smollm2 import smollm2_folder

    folder = FOLDER / shape.name
    if (folder / "ready").exists():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    width = 64 if shape.hidden >= 384 else 32
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.hidden * 8 // 3,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // width,
        num_key_value_heads=max(1, shape.hidden // width // 3),
        head_dim=width,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "ready").touch()
    return folder


def model_folder(name: str) -> Path:
    """`smollm2`, a shape written as HIDDENxLAYERS or HIDDENxLAYERSxVOCABULARY, or a folder."""
    from charter.models.loading import resolve

    sizes = name.split("x")
    if len(sizes) in (2, 3) and all(size.isdigit() for size in sizes):
        return random_llama(LlamaShape(*map(int, sizes)))
    return Path(resolve(name))
