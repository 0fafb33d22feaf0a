"""A causal language model's body run over shared-prompt rows: what log-probs and rewards have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from charter.errors import UserError
from charter.training.attention import LAYOUT_KEYWORD, using_rows
from charter.training.fused import Exchange, exchanged, exchanges
from charter.training.layout import Group, Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RowForward(nn.Module):
    """A model whose forward maps a row to what an objective reads; a subclass says what, with a head of its own.

    It is one module with body and head inside, so that it can be the root that FSDP2 shards.
    fused: exchange layers of known form for faster ones during a forward (`fused.py`); adapters and what is trainable
    must then be set before this is built. Raises UserError when an adapter is on the output head.
    """

    model: Any
    _body: Any
    _head: Any
    _inner: Any
    _exchanges: list[Exchange]

    def __init__(self, model: PreTrainedModel, *, fused: bool = True) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        whole: Any = model
        inner: Any = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
        # Kept out of the module tree: they are parts of `model` already.
        self.__dict__["_body"] = inner.base_model
        self.__dict__["_head"] = inner.get_output_embeddings()
        self.__dict__["_inner"] = inner
        if any("lora_" in name for name, _ in self._head.named_parameters()):
            raise UserError(
                "The adapter is on the output head too, whose weight is read directly here: what the adapter learns "
                "there would be lost. Take the head (such as lm_head) out of `lora.targets`, or train all weights with "
                "`lora: null`; merge an adapter that has it before training on."
            )
        self.__dict__["_exchanges"] = exchanges(inner) if fused else []

    def hidden(self, row: Row) -> Tensor:
        """Last hidden states (T, D) of the row's tokens, in the model's dtype."""
        device = self.device
        with self._rows():
            states: Tensor = self._body(
                input_ids=row.input_ids_T.to(device)[None],
                position_ids=row.position_ids_T.to(device)[None],
                use_cache=False,
                **{LAYOUT_KEYWORD: row.layout.to(device)},
            ).last_hidden_state[0]
        return states

    @property
    def device(self) -> torch.device:
        """Where rows are taken to."""
        device: torch.device = self._head.weight.device
        return device

    def trained_parts(self) -> list[tuple[str, float, list[nn.Parameter]]]:
        """What is optimised apart, each with moments and a gradient norm of its own.

        Per part: (prefix of its names in a checkpoint, factor of the learning rate, trained weights).
        """
        return [("", 1.0, [weight for weight in self.parameters() if weight.requires_grad])]

    def checkpoint_gradients(self, wanted: bool) -> None:
        """Recompute layers in backward (less memory, more time), or stop doing so.

        The recomputation runs after the forward has given the model its own attention back, so it has to switch to
        rows again, or it would recompute another attention than the one that ran.
        """
        if not wanted:
            self._inner.gradient_checkpointing_disable()
            return

        def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
            return contextlib.nullcontext(), self._rows()

        self._inner.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})

    @contextlib.contextmanager
    def _rows(self) -> Iterator[None]:
        with using_rows(self._inner), exchanged(self._exchanges):
            yield

    def _probe(self) -> Row:
        """A short row on which a subclass compares itself with the model's own forward."""
        vocabulary = self._head.weight.shape[0]
        # Ordinary tokens from all over the vocabulary: the first ids are special ones, whose log-probs near -25 nats
        # move by whole nats with bf16 rounding alone. Two completions, so that a leak between them shows.
        ids = [(7919 * (i + 1)) % vocabulary for i in range(36)]
        return Row([Group("probe", tuple(ids[:12]), (tuple(ids[12:24]), tuple(ids[24:])))])

    def _refuse(self, difference: float, what: str) -> UserError:
        return UserError(
            f"{type(self._inner).__name__} cannot run on shared-prompt rows: its {what} differ by {difference:.3g} "
            "from the model's own on a probe. Its attention or its head has a form this version does not know; please "
            "report the architecture."
        )
