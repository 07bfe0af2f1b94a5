"""What an export keeps beside its graphs."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from tf_mlm.export.description import read_description
from tf_mlm.export.state import state_of


class Mixed(tf.Module):
    """State of every kind, some of it shared and some in places that only Keras knows."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = {"a": tf.Variable([1.0]), "b": [tf.Variable([2.0])]}
        self.again = self.weights["a"]
        keys = tf.lookup.KeyValueTensorInitializer(["x"], tf.constant([7], tf.int64))
        self.table = tf.lookup.StaticHashTable(keys, default_value=-1)
        self.layer = keras.layers.Dense(1, kernel_initializer="ones")
        self.layer.build([None, 1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        numbers = tf.cast(self.table.lookup(words), tf.float32)[:, tf.newaxis]
        return self.layer(numbers) + self.weights["a"] + self.weights["b"][0]


def test_all_that_the_signatures_read_comes_back(tmp_path: Path) -> None:
    module, root = Mixed(), tf.Module()
    root.state = state_of(module)
    tf.saved_model.save(root, str(tmp_path), signatures=module.__call__.get_concrete_function())
    loaded = tf.saved_model.load(str(tmp_path))
    answer = loaded.signatures["serving_default"](words=tf.constant(["x", "y"]))["output_0"]
    np.testing.assert_array_equal(answer, module(["x", "y"]))


def test_an_export_holds_no_function_but_its_signatures(tiny_export: Path) -> None:
    loaded = tf.saved_model.load(str(tiny_export))
    assert sorted(loaded.signatures) == read_description(tiny_export)["signatures"]
    kept = tf.train.list_variables(str(tiny_export / "variables" / "variables"))
    assert any(name.startswith("state/model/encoder/embedding/") for name, _ in kept), kept
    saved = (tiny_export / "saved_model.pb").read_bytes()
    assert b"encode_pairs" not in saved  # of the preprocessor, asked for by no signature


def test_no_call_in_an_export_has_its_graph_rewritten(tiny_export: Path) -> None:
    saved = saved_model_pb2.SavedModel.FromString((tiny_export / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    configurations = {node.attr["config_proto"].s for node in nodes if "config_proto" in node.attr}
    assert configurations
    for configuration in map(config_pb2.ConfigProto.FromString, configurations):
        assert configuration.graph_options.rewrite_options.disable_meta_optimizer
