from __future__ import annotations

import pytest
import tensorflow as tf

from tf_mlm.model.graph_rewriting import graphs_as_written


def disabled() -> bool:
    return tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]


@pytest.mark.parametrize("before", [False, True])
def test_what_was_set_before_comes_back(before: bool) -> None:
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})
    with graphs_as_written():
        assert disabled()
    assert disabled() == before
    with pytest.raises(KeyError), graphs_as_written():
        raise KeyError
    assert disabled() == before


def test_it_holds_for_calls_that_are_traced_there() -> None:
    @tf.function
    def inner(x: tf.Tensor) -> tf.Tensor:
        return x + 1

    def configuration() -> bytes:
        graph = tf.function(lambda x: inner(x)).get_concrete_function(tf.constant(1.0)).graph
        [call] = [node for node in graph.as_graph_def().node if "Call" in node.op]
        return call.attr["config_proto"].s

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    with graphs_as_written():
        inside = tf.compat.v1.ConfigProto.FromString(configuration())
    outside = tf.compat.v1.ConfigProto.FromString(configuration())
    assert inside.graph_options.rewrite_options.disable_meta_optimizer
    assert not outside.graph_options.rewrite_options.disable_meta_optimizer
