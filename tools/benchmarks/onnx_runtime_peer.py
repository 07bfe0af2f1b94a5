"""ONNX Runtime as a contender, with the weights of a model directory.

The graph is written with ONNX Runtime's own fused operations (Attention, SkipLayerNormalization,
BiasGelu, EmbedLayerNormalization), which its transformer optimizer would put in, and it gathers the
masked positions before the head and ends in TopK.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Contender
from benchmarks.machine import cores

_MICROSOFT = "com.microsoft"


class OnnxRuntimePeer:
    """A session with every graph optimisation and one thread per core.

    Args:
        directory: a model directory of a BERT.
        top: how many scores per mask the graph returns.
        int8: quantise the graph first, with ONNX Runtime's own tool and as its manual says for transformers:
            dynamically, int8 weights, here with a scale per channel, which is more accurate than its default.
    """

    def __init__(self, directory: Path, *, top: int, int8: bool = False) -> None:
        import onnx
        import onnxruntime

        self.directory = directory
        path = directory / "model.onnx"
        onnx.save(_graph(directory, top), path, save_as_external_data=True, location="model.onnx.data")
        if int8:
            path = _quantized(path)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = cores()
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, segments: np.ndarray, positions: np.ndarray
    ) -> list[np.ndarray]:
        """Log-probabilities and ids [batch, masks, top] of the likeliest tokens."""
        inputs = {
            "input_ids": ids,
            "attention_mask": (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int32),
            "token_type_ids": segments,
            "mask_positions": positions,
        }
        return self.session.run(None, inputs)

    def fill(
        self, ids: np.ndarray, lengths: np.ndarray, segments: np.ndarray, positions: np.ndarray
    ) -> Contender:
        """The same as a contender."""
        return lambda: self(ids, lengths, segments, positions)[0]

    def text(self, batch: int) -> Callable[[list[str]], np.ndarray]:
        """Lines with one mask each to scores [lines, top]: the Rust tokenizer, then this session.

        Lines are sorted by length first, and each batch is padded to its own longest line only.
        """
        from tokenizers.implementations import BertWordPieceTokenizer

        tokenizer = BertWordPieceTokenizer(str(self.directory / "vocab.txt"), lowercase=True)
        mask_id = tokenizer.token_to_id("[MASK]")

        def run(lines: list[str]) -> np.ndarray:
            encoded = [encoding.ids for encoding in tokenizer.encode_batch(lines)]
            order = np.argsort([len(ids) for ids in encoded], kind="stable")
            scores = []
            for start in range(0, len(order), batch):
                rows = [encoded[index] for index in order[start : start + batch]]
                lengths = np.array([len(row) for row in rows], np.int32)
                ids = np.zeros([len(rows), lengths.max()], np.int32)
                for row, values in zip(ids, rows, strict=True):
                    row[: len(values)] = values
                positions = (ids == mask_id).argmax(-1).astype(np.int32)[:, None]
                scores.append(self(ids, lengths, np.zeros_like(ids), positions)[0][:, 0])
            return np.concatenate(scores)[np.argsort(order)]

        return run


def _quantized(path: Path) -> Path:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = path.with_name("model_int8.onnx")
    # The tool cannot infer what its own fused operations return, and asks for this.
    options = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(path, target, per_channel=True, weight_type=QuantType.QInt8, extra_options=options)
    return target


class _Graph:
    """Nodes and weights in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(
        self, operation: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any
    ) -> Any:
        from onnx import helper

        names = [f"{operation}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operation, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names


def _graph(directory: Path, top: int) -> Any:
    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    from tf_mlm.model.directory.checkpoint import read_config

    config, tensors = read_config(directory), load_file(directory / "model.safetensors")
    graph = _Graph()
    epsilon = config.layer_norm_eps

    def weight(name: str, transposed: bool = False) -> str:
        return graph.weight(tensors[name].T if transposed else tensors[name])

    def norm(name: str) -> tuple[str, str]:
        return weight(f"{name}.weight"), weight(f"{name}.bias")

    x, mask = graph.node(
        "EmbedLayerNormalization",
        "input_ids",
        "token_type_ids",
        *(weight(f"bert.embeddings.{kind}_embeddings.weight") for kind in ("word", "position", "token_type")),
        *norm("bert.embeddings.LayerNorm"),
        "attention_mask",
        domain=_MICROSOFT,
        outputs=2,
        epsilon=epsilon,
    )
    for index in range(config.num_hidden_layers):
        name = f"bert.encoder.layer.{index}"
        attention = f"{name}.attention"
        parts = [f"{attention}.self.{part}" for part in ("query", "key", "value")]
        kernel = graph.weight(np.concatenate([tensors[f"{part}.weight"].T for part in parts], 1))
        bias = graph.weight(np.concatenate([tensors[f"{part}.bias"] for part in parts]))
        context = graph.node(
            "Attention", x, kernel, bias, mask, domain=_MICROSOFT, num_heads=config.num_attention_heads
        )

        def add_and_norm(y: str, x: str, dense: str, layer_norm: str) -> str:
            product = graph.node("MatMul", y, weight(f"{dense}.weight", True))
            return graph.node(
                "SkipLayerNormalization",
                product,
                x,
                *norm(layer_norm),
                weight(f"{dense}.bias"),
                domain=_MICROSOFT,
                epsilon=epsilon,
            )

        x = add_and_norm(context, x, f"{attention}.output.dense", f"{attention}.output.LayerNorm")
        inner = graph.node("MatMul", x, weight(f"{name}.intermediate.dense.weight", True))
        inner = graph.node("BiasGelu", inner, weight(f"{name}.intermediate.dense.bias"), domain=_MICROSOFT)
        x = add_and_norm(inner, x, f"{name}.output.dense", f"{name}.output.LayerNorm")
    last_axis = graph.weight(np.array([-1], np.int64))
    positions = graph.node("Unsqueeze", "mask_positions", last_axis)
    positions = graph.node("Cast", positions, to=TensorProto.INT64)
    rows = graph.node("GatherND", x, positions, batch_dims=1)
    rows = graph.node("MatMul", rows, weight("cls.predictions.transform.dense.weight", True))
    rows = graph.node("BiasGelu", rows, weight("cls.predictions.transform.dense.bias"), domain=_MICROSOFT)
    rows = graph.node(
        "LayerNormalization", rows, *norm("cls.predictions.transform.LayerNorm"), epsilon=epsilon
    )
    logits = graph.node("MatMul", rows, weight("bert.embeddings.word_embeddings.weight", True))
    logits = graph.node("Add", logits, weight("cls.predictions.bias"))
    best, ids = graph.node("TopK", logits, graph.weight(np.array([top], np.int64)), outputs=2)
    total = graph.node("ReduceLogSumExp", logits, last_axis, keepdims=1)
    scores = graph.node("Sub", best, total)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", axis])
        for name, axis in (
            ("input_ids", "length"),
            ("attention_mask", "length"),
            ("token_type_ids", "length"),
            ("mask_positions", "masks"),
        )
    ]
    outputs = [
        helper.make_tensor_value_info(scores, TensorProto.FLOAT, None),
        helper.make_tensor_value_info(ids, TensorProto.INT64, None),
    ]
    return helper.make_model(
        helper.make_graph(graph.nodes, "fill", inputs, outputs, graph.weights),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(_MICROSOFT, 1)],
        ir_version=9,
    )
