"""Who learns, and how fast."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.parameter_groups import named_variables, parameters

SIZES = ModelConfig(vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2)


@pytest.fixture(scope="module")
def model() -> MaskedLM:
    return MaskedLM.from_config(SIZES, seed=0)


def _ids(variables: object) -> set[int]:
    return {id(variable) for variable in variables}  # type: ignore[attr-defined]


def _trained(model: MaskedLM, train: str) -> set[int]:
    return _ids(parameter.variable for parameter in parameters(model, train=train))


def test_names_are_unique_and_shared_variables_come_once(model: MaskedLM) -> None:
    names = named_variables(model)
    assert len(names) == len(_ids(names.values())) == len(_ids(model.variables))
    assert "encoder/blocks/0/attention/query_key_value/kernel" in names


def test_tensorflow_still_tells_the_paths_of_variables() -> None:
    module, inner = tf.Module(), tf.Module()
    inner.kernel, inner.others = tf.Variable(1.0), {"a": tf.Variable(2.0)}
    module.blocks, module.again = [inner], inner.kernel
    try:
        found = {name: float(variable) for name, variable in named_variables(module).items()}
    except (AttributeError, TypeError) as error:
        found = {"": repr(error)}
    assert found == {"again": 1.0, "blocks/0/others/a": 2.0}, (
        "`tf.Module._flatten(predicate=..., with_path=True)`, which is private, has changed. Walk the "
        "attributes in `named_variables` instead: by name, lists by index, dicts by key, each variable under "
        "its first path in breadth-first order. Checkpoints hold these names: runs resume only if they stay."
    )


def test_all_trains_everything(model: MaskedLM) -> None:
    assert _trained(model, "all") == _ids(model.trainable_variables)


def test_head_leaves_the_encoder_and_its_shared_table_alone(model: MaskedLM) -> None:
    trained = _trained(model, "head")
    assert trained == _ids(model.head.trainable_variables) - _ids(model.encoder.variables)
    assert id(model.encoder.embedding.token.embeddings) not in trained


def test_last_layers(model: MaskedLM) -> None:
    trained = _trained(model, "last:2")
    assert trained == _trained(model, "head") | _ids(model.encoder.blocks[1].variables) | _ids(
        model.encoder.blocks[2].variables
    )
    assert _trained(model, "last:0") == _trained(model, "head")
    with pytest.raises(ConfigError, match="Received: a model with 3"):
        parameters(model, train="last:4")


def test_each_layer_learns_slower_than_the_one_above(model: MaskedLM) -> None:
    rates = {parameter.name: parameter.rate for parameter in parameters(model, layer_decay=0.5)}
    assert rates["head/output_bias"] == 1
    layers = [rates[f"encoder/blocks/{index}/output/kernel"] for index in (2, 1, 0)]
    assert layers == [0.5, 0.25, 0.125]
    assert rates["encoder/embedding/token/embeddings"] == 0.0625


def test_biases_and_norms_are_not_decayed(model: MaskedLM) -> None:
    for parameter in parameters(model):
        assert parameter.decay == (0.0 if len(parameter.variable.shape) == 1 else 1.0)


def test_an_encoder_without_layers() -> None:
    model = MaskedLM.from_config(SIZES, seed=0)
    model.encoder = lambda *_: None  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"must be a tf\.Module"):
        parameters(model)


def test_what_layers_share_counts_as_the_embeddings_do() -> None:
    sizes = ModelConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        model_type="mpnet",
        relative_buckets=32,
    )
    model = MaskedLM.from_config(sizes, seed=0)
    table = id(model.encoder.positions.bias.table)
    found = {id(each.variable): each.rate for each in parameters(model, layer_decay=0.5)}
    assert found[table] == found[id(model.encoder.embedding.token.embeddings)] == 0.5**4
    assert table not in _trained(model, "last:3")
