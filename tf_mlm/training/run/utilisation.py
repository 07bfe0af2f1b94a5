"""Model FLOPs utilisation (MFU): which share of the devices' peak the arithmetic of the model takes.

Counted is what the model asks for, forward and backward, whatever a device computes besides: 6 operations
for each weight of a matrix at each position that it is applied to, and 12 for each dimension of each pair of
tokens that attend to each other (Chowdhery et al., https://arxiv.org/abs/2204.02311, appendix B). The head,
and the last layer's position-wise half, are applied to hidden tokens alone. A band counts by its width, a
packed row by its documents; layers that are computed again count once.
"""

from __future__ import annotations

import os
import re

import numpy as np
import tensorflow as tf

from tf_mlm.model.bert_encoder import BertEncoder
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.data.token_store import StoredRows
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.strategy import compiles_whole_step

GPUS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
}
"""Dense bfloat16 operations a second, by a part of the name; the first that fits. NVIDIA's data sheets."""
TPUS = {"v4": 275e12 / 2, "v5litepod": 197e12, "v5p": 459e12 / 2, "v6e": 918e12}
"""The same by accelerator type, of what its number counts: v4 and v5p count cores, two a chip. Cloud TPU's
pages."""
ACCELERATOR_TYPE = ("TPU_ACCELERATOR_TYPE", "ACCELERATOR_TYPE")
"""Where a TPU VM says what it has, such as v5litepod-8."""
ROWS_LOOKED_AT = 1024


def rows_per_second_at_peak(
    model: MaskedLM, rows: StoredRows, config: TrainConfig, strategy: tf.distribute.Strategy
) -> float | None:
    """How many rows a second a run would train on at the peak of its devices; None if that is not known."""
    peak = peak_flops(strategy)
    if peak is None:
        return None  # and no rows need to be read
    flops = flops_of_row(model, rows, length=config.length, masks=config.masks)
    return None if flops is None else peak / flops


def flops_of_row(model: MaskedLM, rows: StoredRows, *, length: int, masks: int) -> float | None:
    """Operations of a training step for one row; None for an encoder of which the layers are not known.

    Args:
        model: encoder and head.
        rows: that it is trained on.
        length: tokens of a row.
        masks: how many of them are predicted.
    """
    encoder, config = model.encoder, model.config
    if not isinstance(encoder, BertEncoder):
        return None
    everywhere, of_masks = 0, 0
    for layer in encoder.layers:
        mixing = [layer.attention_output] if config.mixing == "attention" else []
        transform = _weights(*mixing, layer.intermediate, layer.output)
        everywhere += _weights(getattr(layer.attention, "query_key_value", None)) + transform
    everywhere += _weights(encoder.embedding.projection) - transform
    of_masks = (
        transform + _weights(model.head.intermediate_dense) + model.head.output_table.shape.num_elements()
    )
    pairs = 0.0
    for index in range(config.num_hidden_layers if config.mixing == "attention" else 0):
        width = 2 * (config.local_attention // 2) + 1 if config.is_local(index) else length
        pairs += length * attended(rows, length, width)
    return 6.0 * (length * everywhere + masks * of_masks) + 12.0 * config.hidden_size * pairs


def attended(rows: StoredRows, length: int, width: int) -> float:
    """To how many tokens a token attends on average, itself included, where it reaches `width` of them."""
    sizes = np.array([length])
    if rows.is_packed and rows.total:
        count = min(rows.total, ROWS_LOOKED_AT)
        places = rows.take(np.linspace(0, rows.total - 1, count).astype(int)).position_ids
        assert places is not None
        sizes = np.diff([*np.flatnonzero(places.ravel() == 0), places.size])  # padding stands alone
    return float((sizes * np.minimum(sizes, width)).sum() / sizes.sum())


def peak_flops(strategy: tf.distribute.Strategy) -> float | None:
    """Dense bfloat16 operations a second of all devices of a strategy together; None if they are not known.

    Example:
        >>> from tf_mlm.training.strategy import make_strategy
        >>> peak_flops(make_strategy("cpu")) is None
        True
    """
    if compiles_whole_step(strategy):
        return peak_of_tpu(next((os.environ[name] for name in ACCELERATOR_TYPE if name in os.environ), ""))
    if "gpu" not in strategy.extended.worker_devices[0].lower():
        return None
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    one = peak_of_gpu(details.get("device_name", ""))
    return None if one is None else one * strategy.num_replicas_in_sync


def peak_of_gpu(name: str) -> float | None:
    """Of one GPU, by the name that it gives itself.

    Example:
        >>> peak_of_gpu("NVIDIA A100-SXM4-80GB"), peak_of_gpu("Tesla T4")
        (312000000000000.0, None)
    """
    return next((peak for part, peak in GPUS.items() if part in name), None)


def peak_of_tpu(accelerator_type: str) -> float | None:
    """Of a whole slice, by its type.

    Example:
        >>> peak_of_tpu("v5litepod-8"), peak_of_tpu("v2-8")
        (1576000000000000.0, None)
    """
    found = re.fullmatch(r"(\w+)-(\d+)", accelerator_type)
    one = None if found is None else TPUS.get(found[1])
    return None if found is None or one is None else one * int(found[2])


def _weights(*layers: tf.Module | None) -> int:
    """Of the matrices of dense layers."""
    return sum(layer.kernel.shape.num_elements() for layer in layers if layer is not None)
