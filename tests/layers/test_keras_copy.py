"""The names of KerasHub's variables, which are private, and what copies refuse."""

from __future__ import annotations

import pytest

from tf_mlm.keras import MaskedLMHead as KerasLayer
from tf_mlm.layers.masked_lm_head import MaskedLMHead


@pytest.mark.peers
def test_keras_hub_has_its_variables_under_the_names_that_are_copied() -> None:
    import keras_hub

    layer = keras_hub.layers.MaskedLMHead(7)
    layer.build((None, None, 4), (None, None))
    names = ("_intermediate_dense", "_intermediate_layer_norm", "_bias", "_kernel")
    missing = [name for name in names if not hasattr(layer, name)]
    assert not missing, (
        f"keras_hub {keras_hub.__version__}'s MaskedLMHead has no {', '.join(missing)} any more: look up "
        "what its masked_lm_head.py calls them now, and change tf_mlm.layers.keras_copy.head_pairs."
    )


@pytest.mark.parametrize("left_out", [{"bare": True}, {"dense_bias": False}, {"norm_bias": False}])
def test_a_head_that_leaves_something_out_is_no_keras_layer(left_out: dict[str, bool]) -> None:
    head = MaskedLMHead(11, hidden_dim=4, **left_out)
    [(name, value)] = left_out.items()
    for copy in (head.to_keras, lambda: KerasLayer.from_module(head)):
        with pytest.raises(ValueError, match=f"cannot become one. Received: .*{name}={value}"):
            copy()


def test_a_head_without_variables_cannot_be_copied() -> None:
    with pytest.raises(ValueError, match="must have its variables before they can be copied"):
        MaskedLMHead(7).to_keras()
