"""all-MiniLM-L6-v2 as an int8 ONNX graph, built node by node from its weights.

Weights are int8, symmetric, one scale a column; activations are quantised as they come (uint8, one scale a tensor);
attention, layer norms and GELU stay fp32. Written out by hand because the graph then has exactly the fused operators
that ONNX Runtime has fast kernels for, and needs no exporter: only the package `onnx`, once, to write the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LAYERS: Final = 6
HEADS: Final = 12
DIMENSION: Final = 384
EPSILON: Final = 1e-12
_FUSED: Final = "com.microsoft"

Weights = Mapping[str, NDArray[np.float32]]


def quantised(weight_IO: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 of a matrix, shape (in, out), with one scale a column: weight ≈ int8 * scale."""
    scale_O = np.maximum(np.abs(weight_IO).max(0), 1e-12) / 127
    return np.clip(np.round(weight_IO / scale_O), -127, 127).astype(np.int8), scale_O.astype(np.float32)


class _Graph:
    """Nodes and constants as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, list(outputs), domain=domain, **attributes))
        return outputs[0]

    def linear(
        self, x: str, name: str, weight_OI: NDArray[np.float32], bias_O: NDArray[np.float32] | None = None
    ) -> str:
        """x times the transposed int8 weight, plus the bias."""
        int8_IO, scale_O = quantised(weight_OI.T)
        inputs = [x, self.constant(f"{name}.w", int8_IO), self.constant(f"{name}.scale", scale_O)]
        inputs.append(self.constant(f"{name}.zero", np.zeros_like(scale_O, dtype=np.int8)))
        if bias_O is not None:
            inputs.append(self.constant(f"{name}.bias", bias_O))
        return self.node("DynamicQuantizeMatMul", inputs, f"{name}.out", domain=_FUSED)

    def add_norm(self, x: str, y: str, name: str, weights: Weights, prefix: str) -> str:
        """Layer norm of x + y."""
        gain = self.constant(f"{name}.gain", weights[f"{prefix}.weight"])
        shift = self.constant(f"{name}.shift", weights[f"{prefix}.bias"])
        return self.node("SkipLayerNormalization", [x, y, gain, shift], f"{name}.out", domain=_FUSED, epsilon=EPSILON)


def _embedded(graph: _Graph, weights: Weights) -> str:
    """Word (int8, one scale a word), position and segment embeddings, normalised."""
    from onnx import TensorProto

    int8_DV, scale_V = quantised(weights["embeddings.word_embeddings.weight"].T)
    graph.constant("words", int8_DV.T)
    graph.constant("words.scale", scale_V[:, None])
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    graph.constant("positions", positions.astype(np.float32))
    graph.constant("zero", np.zeros(1, dtype=np.int64))
    graph.node("Gather", ["words", "ids"], "word.int8")
    graph.node("Cast", ["word.int8"], "word.fp32", to=TensorProto.FLOAT)
    graph.node("Gather", ["words.scale", "ids"], "word.scale")
    graph.node("Mul", ["word.fp32", "word.scale"], "word")
    graph.node("Shape", ["ids"], "length", start=1, end=2)
    graph.node("Slice", ["positions", "zero", "length"], "position")
    graph.node("Add", ["word", "position"], "embedding")
    gain = graph.constant("embedding.gain", weights["embeddings.LayerNorm.weight"])
    shift = graph.constant("embedding.shift", weights["embeddings.LayerNorm.bias"])
    return graph.node("LayerNormalization", ["embedding", gain, shift], "hidden.0", axis=-1, epsilon=EPSILON)


def _layer(graph: _Graph, x: str, weights: Weights, number: int) -> str:
    """One transformer layer (post-norm, as in BERT)."""
    prefix, name = f"encoder.layer.{number}", f"layer{number}"
    parts = [f"{prefix}.attention.self.{part}" for part in ("query", "key", "value")]
    weight = np.concatenate([weights[f"{part}.weight"] for part in parts])
    bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
    qkv = graph.linear(x, f"{name}.qkv", weight, bias)
    split = [f"{name}.{part}" for part in ("query", "key", "value")]
    graph.node("Split", [qkv], *split, axis=-1, num_outputs=3)
    attended = graph.node("MultiHeadAttention", split, f"{name}.attended", domain=_FUSED, num_heads=HEADS)
    dense = f"{prefix}.attention.output.dense"
    mixed = graph.linear(attended, f"{name}.mixed", weights[f"{dense}.weight"], weights[f"{dense}.bias"])
    x = graph.add_norm(x, mixed, f"{name}.norm1", weights, f"{prefix}.attention.output.LayerNorm")
    wide = graph.linear(x, f"{name}.wide", weights[f"{prefix}.intermediate.dense.weight"])
    bias_name = graph.constant(f"{name}.wide.bias", weights[f"{prefix}.intermediate.dense.bias"])
    wide = graph.node("BiasGelu", [wide, bias_name], f"{name}.gelu", domain=_FUSED)
    dense = f"{prefix}.output.dense"
    narrow = graph.linear(wide, f"{name}.narrow", weights[f"{dense}.weight"], weights[f"{dense}.bias"])
    return graph.add_norm(x, narrow, f"{name}.norm2", weights, f"{prefix}.output.LayerNorm")


def int8_model(weights: Weights) -> bytes:
    """The serialised graph: `ids` (B, T) int64 with the special tokens, no padding, to hidden states (B, T, 384).

    A batch shares the scales of its activations, so run one text at a time where scores must not depend on company.
    """
    from onnx import TensorProto, helper

    graph = _Graph()
    x = _embedded(graph, weights)
    for number in range(LAYERS):
        x = _layer(graph, x, weights, number)
    built = helper.make_graph(
        graph.nodes,
        "minilm",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "tokens", DIMENSION])],
        graph.constants,
    )
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(_FUSED, 1)])
    model.ir_version = 9
    return bytes(model.SerializeToString())
