"""4-bit bases: refused without CUDA before any work; what transformers is asked for; and, where bitsandbytes is
installed, the rows of a 4-bit model on the processor (charter itself asks for CUDA)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import groups_of, one_by_one, tiny_folder

from charter.errors import UserError
from charter.models.loading import load_model
from charter.models.lora import LoraSettings, add_lora
from charter.models.quantize import four_bit
from charter.records import Demonstration, user_prompt
from charter.training.extras import check_installed
from charter.training.fused import FusedLora, FusedRMSNorm
from charter.training.layout import Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods import SftSettings, train_sft

QLORA = LoraSettings(r=4, alpha=8, quantize="4bit")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")


@without_cuda
def test_without_cuda_it_is_refused_before_any_work(tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "base")
    rows = [Demonstration("a", user_prompt("Hi"), "Hello.")]
    with pytest.raises(UserError, match=r"quantize: 4bit.* needs a CUDA device.*Leave `quantize` out"):
        train_sft(str(base), rows, SftSettings(lora=QLORA), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="needs a CUDA device"):
        check_installed(SftSettings(lora=QLORA))
    with pytest.raises(UserError, match="needs a CUDA device"):
        load_model(str(base), quantize="4bit")


def test_with_cuda_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"pip install 'charter\[bitsandbytes\]'"):
        check_installed(SftSettings(lora=QLORA))


def test_what_transformers_is_asked_for_is_the_papers_form() -> None:
    asked = four_bit().to_dict()
    assert asked["load_in_4bit"]
    assert asked["bnb_4bit_quant_type"] == "nf4"
    assert asked["bnb_4bit_use_double_quant"]
    assert asked["bnb_4bit_compute_dtype"] == "bfloat16"


def with_adapters(model: Any) -> Any:
    """QLoRA's adapters with a random B, in training mode: the library's packed form for inference has no gradient."""
    adapted = add_lora(model, QLORA, 1).train()
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=drawn) * 0.1)
    return adapted


def test_a_four_bit_model_in_rows_is_its_dequantized_weights_one_by_one(tmp_path: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="an extra of 125 MB, left out of the test extra")
    from transformers.models.auto import AutoModelForCausalLM

    base = tiny_folder(tmp_path / "base", hidden_size=64, intermediate_size=128, head_dim=16)
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(base), dtype=torch.bfloat16, quantization_config=four_bit(), device_map={"": "cpu"}
    )
    plain: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16)
    for name, layer in model.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            layer.support_avx512bf16_for_cpu = False
            weight = layer.weight
            plain.get_submodule(name).weight.data = bitsandbytes.functional.dequantize_4bit(weight, weight.quant_state)
    adapted, plain = with_adapters(model), with_adapters(plain)
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert all("lora_" in name and weight.dtype == torch.bfloat16 for name, weight in trained.items())
    groups = groups_of((5, 4, 9), (8, 11, 3))
    logprobs = CompletionLogprobs(adapted)
    fused = [type(x.fused) for x in logprobs._exchanges]
    assert FusedLora not in fused
    assert FusedRMSNorm in fused
    got, want = logprobs(Row(groups)), one_by_one(plain, groups)
    torch.testing.assert_close(got, want, atol=0.05, rtol=0.01)
    of_plain = [weight for weight in plain.parameters() if weight.requires_grad]
    for one, two in zip(
        torch.autograd.grad(got.mean(), list(trained.values())), torch.autograd.grad(want.mean(), of_plain), strict=True
    ):
        assert (one - two).norm() < 0.1 * two.norm()
