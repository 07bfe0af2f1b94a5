"""Model FLOPs against a count by hand, and peaks by the names that devices have."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tf_mlm
from tf_mlm.config import ModelConfig
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.data.token_store import Rows
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run import utilisation
from tf_mlm.training.run.trainer import train
from tf_mlm.training.run.utilisation import attended, flops_of_row, peak_flops, peak_of_gpu, peak_of_tpu

pytestmark = pytest.mark.usefixtures("interpreted")

LENGTH, MASKS = 100, 15
SIZES = {
    "vocab_size": 50,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 20,
}
BERT = ModelConfig(**SIZES)
MODERN = read_config({**SIZES, "model_type": "modernbert", "local_attention": 16, "pad_token_id": 0})
ALBERT = dataclasses.replace(BERT, model_type="albert", embedding_size=4, num_hidden_groups=1)
WHOLE = Rows(np.zeros([2, LENGTH], np.uint16), np.full(2, LENGTH))
# A row of documents of 60 and 30 tokens, and ten of padding.
PACKED = Rows(*WHOLE[:2], np.tile([*range(60), *range(30), *[0] * 10], [2, 1]))


def _count(inner: int, head: int, pairs: int, *, projection: int = 0) -> int:
    """Of three layers of 8; `inner` are the weights of a feed-forward, `head` those behind the layers."""
    query_key_value, output = 8 * 24, 8 * 8
    everywhere = 3 * query_key_value + 2 * (output + inner) + projection
    return 6 * (LENGTH * everywhere + MASKS * (output + inner + head)) + 12 * 8 * pairs


@pytest.mark.parametrize(
    ("config", "rows", "wanted"),
    [
        (BERT, WHOLE, _count(2 * 8 * 20, 8 * 8 + 8 * 50, 3 * 100 * 100)),
        (MODERN, WHOLE, _count(3 * 8 * 20, 8 * 8 + 8 * 50, 100 * 100 + 2 * 100 * 17)),
        (
            MODERN,
            PACKED,
            _count(3 * 8 * 20, 8 * 8 + 8 * 50, 60 * 60 + 30 * 30 + 10 + 2 * (60 * 17 + 30 * 17 + 10)),
        ),
        (ALBERT, WHOLE, _count(2 * 8 * 20, 8 * 4 + 4 * 50, 3 * 100 * 100, projection=4 * 8)),
    ],
    ids=["bert", "bands", "packed", "shared layers"],
)
def test_against_a_count_by_hand(config: ModelConfig, rows: Rows, wanted: int) -> None:
    model = MaskedLM.from_config(config, seed=0)
    assert flops_of_row(model, rows, length=LENGTH, masks=MASKS) == pytest.approx(wanted)


def test_what_is_packed_attends_to_its_own_document() -> None:
    assert attended(PACKED, LENGTH, LENGTH) == (60 * 60 + 30 * 30 + 10) / 100
    assert attended(WHOLE, LENGTH, 17) == 17


def test_an_encoder_of_unknown_layers_has_no_number() -> None:
    model = MaskedLM.from_config(BERT, seed=0)
    encoder = model.encoder

    class Own(tf.Module):
        config = encoder.config

    model.encoder = Own()
    assert flops_of_row(model, WHOLE, length=LENGTH, masks=MASKS) is None


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_gpus(name: str, teraflops: int | None) -> None:
    assert peak_of_gpu(name) == (None if teraflops is None else teraflops * 1e12)


@pytest.mark.parametrize(
    ("kind", "chips", "teraflops"),
    [("v4-8", 4, 275), ("v5litepod-16", 16, 197), ("v5p-8", 4, 459), ("v6e-8", 8, 918)],
)
def test_tpus(kind: str, chips: int, teraflops: int) -> None:
    assert peak_of_tpu(kind) == chips * teraflops * 1e12


def test_other_devices_have_no_peak() -> None:
    assert peak_of_tpu("") is peak_of_tpu("v3-8") is None
    assert peak_flops(tf.distribute.OneDeviceStrategy("/cpu:0")) is None


def test_the_log_says_it_where_the_peak_is_known(
    corpus: Path, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = 1e9
    monkeypatch.setattr(utilisation, "peak_flops", lambda strategy: peak)
    config = dataclasses.replace(small, steps=4, steps_per_call=2, accumulation=2, batch_warmup="4:2")
    result = train([corpus], tmp_path, config, compile=False)
    lines = (tmp_path / "training" / "log.jsonl").read_text().splitlines()
    steps = [record for record in map(json.loads, lines) if record["event"] == "step"]
    sizes = {record["step"]: record["batch_size"] for record in steps}
    assert (sizes[1] if 1 in sizes else sizes[2]) == 4
    assert sizes[4] == 8
    flops = flops_of_row(tf_mlm.load(tmp_path), WHOLE, length=16, masks=config.masks)
    assert flops is not None
    for record in steps:
        assert record["mfu"] == pytest.approx(flops * record["tokens_per_second"] / 16 / peak, abs=1e-3)
    assert result.mfu is not None
