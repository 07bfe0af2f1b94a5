"""The TPU compiler, on a machine without a TPU: the real step passes, what a TPU cannot run is caught."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.tpu_compiler import CHIPS, RefusedError, TpuCompiler, lowered
from tf_mlm.config import ModelConfig
from tf_mlm.layers import dense, product
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.data.token_store import Rows
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.utilisation import flops_of_row

CONFIG = ModelConfig(
    vocab_size=1000, hidden_size=128, num_hidden_layers=1, num_attention_heads=2, intermediate_size=256
)


@pytest.fixture(scope="module")
def compiler() -> TpuCompiler:
    return TpuCompiler("v5e")


@pytest.mark.peers
def test_the_training_step_and_the_serving_core_compile(compiler: TpuCompiler) -> None:
    train = compiler.train(CONFIG, batch=8, length=128)
    serve = compiler.serve(CONFIG, batch=8, length=128)
    for result in (train, serve):
        assert result.compiles, result.error
        assert result.fits
        assert result.flops > 0
    parameters = 1000 * 128 + 512 * 128
    assert train.arguments > 3 * 4 * parameters  # the variables and AdamW's two averages
    assert train.arguments > serve.arguments
    # What is counted for the utilisation is nearly all that the compiler counts.
    rows = Rows(np.zeros([1, 128], np.uint16), np.array([128]))
    counted = flops_of_row(
        MaskedLM.from_config(CONFIG), rows, length=128, masks=TrainConfig(length=128).masks
    )
    assert counted is not None
    assert 0.85 * train.flops < 8 * counted < train.flops


@pytest.mark.peers
def test_what_a_tpu_cannot_run_is_caught(compiler: TpuCompiler) -> None:
    words = tf.constant(["one", "two"])
    strings = compiler._compile(
        "serve", lambda x: tf.strings.length(tf.gather(words, x)), [tf.constant([1])], 1, 1
    )
    assert not strings.compiles
    assert strings.error
    with pytest.raises(RefusedError, match="unsupported operations"):
        compiler.instructions(lambda x: tf.strings.length(tf.gather(words, x)), [tf.constant([1])])


@pytest.mark.peers
def test_a_mistake_in_the_program_is_not_taken_for_a_refusal(compiler: TpuCompiler) -> None:
    def mistaken(x: tf.Tensor) -> tf.Tensor:
        return x.no_such_attribute

    with pytest.raises(AttributeError, match="no_such_attribute"):
        compiler._compile("serve", mistaken, [tf.constant([1])], 1, 1)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("rows", [8, product.FEW_ROWS])
def test_the_order_of_a_dense_product_makes_no_difference_to_a_tpu(
    compiler: TpuCompiler, monkeypatch: pytest.MonkeyPatch, rows: int, dtype: str
) -> None:
    up, down = dense.Dense(256, 512, "gelu", dtype=dtype), dense.Dense(512, 256, dtype=dtype)
    inputs = [tf.zeros([rows, 256], up.precision.compute)]
    asked, programs = [], []
    for few_rows in (product.FEW_ROWS, 0):
        monkeypatch.setattr(product, "FEW_ROWS", few_rows)
        asked.append(re.findall(r"stablehlo\.\w+", lowered(lambda rows: down(up(rows)), inputs)))
        programs.append(compiler.instructions(lambda rows: down(up(rows)), inputs))
    assert asked[0] != asked[1]
    assert any(instruction.endswith(" convolution") for instruction in programs[0])  # a TPU's matrix product
    assert programs[0] == programs[1]


def test_an_unknown_chip_is_named() -> None:
    with pytest.raises(ValueError, match=f"one of {', '.join(CHIPS)}. Received: 'v99'"):
        TpuCompiler("v99")
