"""What the engine must know of an architecture: its context, its cache's size, and whether slots can serve it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from charter.models.generation import attention
from charter.models.generation.attention import DecodePlan, LaneStep, PrefillPlan, Segment
from charter.models.generation.cache import Lane, Row, lane_capacity
from charter.models.generation.types import Request
from charter.records import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_MOVING_ROPE = {"dynamic", "longrope"}


def text_config(model: PreTrainedModel) -> Any:
    """The configuration of the language part."""
    return model.config.get_text_config(decoder=True)


def context_of(model: PreTrainedModel) -> int | None:
    """The most tokens that prompt and answer may have together, or None where the architecture has no limit."""
    config = text_config(model)
    context = getattr(config, "max_position_embeddings", None)
    return int(context) if isinstance(context, int) and context > 0 else None


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Bytes of keys and values that one token takes over all layers (at least 1)."""
    config = text_config(model)
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None) or 1
    size = getattr(config, "head_dim", None) or config.hidden_size // (getattr(config, "num_attention_heads", 1) or 1)
    layers = getattr(config, "num_hidden_layers", 1) or 1
    return max(1, 2 * int(layers) * int(heads) * int(size) * model.dtype.itemsize)


@contextmanager
def generating(model: PreTrainedModel) -> Iterator[None]:
    """The model in eval mode with the slot attention; mode and attention are restored at the end."""
    before, training = model.config._attn_implementation, model.training
    model.eval()
    model.set_attn_implementation(attention.NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        model.train(training)


def why_plain(model: PreTrainedModel) -> str | None:
    """Why the slot cache cannot serve this model (a clause for the log), or None when it can.

    Known obstacles are named first; then two short prompts are run both ways, so that an architecture nobody thought of
    is slow rather than wrong.
    """
    config = text_config(model)
    if model.config.is_encoder_decoder:
        return "it is an encoder-decoder model"
    if getattr(model, "_is_stateful", False):
        return "its layers carry a recurrent state"
    if not getattr(model, "_supports_attention_backend", False) or not model._can_set_attn_implementation():
        return "its attention cannot be replaced through transformers' attention interface"
    odd = set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS
    if odd:
        return f"it has layers of type {', '.join(sorted(odd))}"
    if getattr(config, "num_kv_shared_layers", 0):
        return "its layers share keys and values"
    moving = _rope_types(getattr(config, "rope_parameters", None)) & _MOVING_ROPE
    if moving:
        return f"its rotary embedding ({', '.join(sorted(moving))}) depends on the longest sequence of the batch"
    attention.register()
    try:
        gap, allowed = _probe(model), 1e-2 if model.dtype == torch.float32 else 0.5
    except Exception as error:  # whatever an unknown architecture raises: it runs plain, and the log says why
        return f"it failed a trial run with slots ({type(error).__name__}: {error})"
    return None if gap <= allowed else f"a trial run with slots differed by {gap:.2g} nats"


def _rope_types(parameters: Any) -> set[str]:
    if not isinstance(parameters, dict):
        return set()
    nested = [_rope_types(value) for value in parameters.values()]
    return set().union(*nested) | ({str(parameters["rope_type"])} if "rope_type" in parameters else set())


@torch.inference_mode()
def _probe(model: PreTrainedModel) -> float:
    """The largest difference of log-probabilities (nats), on likely tokens, between slots and an ordinary forward."""
    vocabulary, device = text_config(model).vocab_size, model.device
    # They begin alike, so that the sharing of beginnings is probed too.
    head = [(5 * i + 1) % vocabulary for i in range(9)]
    sequences = [head + [(step * i + 3) % vocabulary for i in range(count)] for step, count in ((7, 5), (11, 9))]
    lane = Lane(lane_capacity(32))
    for ids in sequences:
        lane.place(Row(Request(None, tuple(ids), Sampling()), 0, 1, len(ids) - 1))
    prefill = PrefillPlan([Segment(tuple(ids[:-1]), lane, [i], None) for i, ids in enumerate(sequences)])
    lengths = torch.tensor([len(ids) - 1 for ids in sequences], device=device)
    decode = DecodePlan([LaneStep(lane, 0, 2, int(lengths.max()) + 1, lengths)])
    with generating(model):
        run_ids, run_positions, _ = prefill.run()
        flat, positions = (torch.tensor([values], device=device) for values in (run_ids, run_positions))
        model(input_ids=flat, position_ids=positions, use_cache=False, charter_plan=prefill)
        newest = torch.tensor([[ids[-1] for ids in sequences]], device=device)
        ours = model(input_ids=newest, position_ids=lengths[None], use_cache=False, charter_plan=decode).logits[0]
    gap = 0.0
    training = model.training
    model.eval()
    try:
        for row, ids in zip(ours, sequences, strict=True):
            plain = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, -1]
            likely = plain.topk(min(8, plain.shape[-1])).indices
            parts = [torch.log_softmax(logits.float(), -1)[likely] for logits in (row, plain)]
            gap = max(gap, float((parts[0] - parts[1]).abs().max()))
    finally:
        model.train(training)
    return gap
