"""The mask generator as a Keras layer: the module's masks, wherever Keras calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference.keras_models import CONFIG, IDS

import tf_mlm
from tf_mlm.keras import Encoder, MaskedLMHead, MaskedLMMaskGenerator


def values(outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.to_list() if isinstance(value, tf.RaggedTensor) else np.asarray(value).tolist()
        for name, value in outputs.items()
    }


@pytest.mark.parametrize("length", [None, 4])
@pytest.mark.parametrize(
    "inputs",
    [IDS, IDS[0], IDS.tolist(), [[5, 6, 7], [8]], tf.ragged.constant([[5, 6, 7], [8]]), tf.constant(IDS)],
    ids=["array", "row", "lists", "uneven lists", "ragged", "tensor"],
)
def test_masks_are_the_modules(inputs: Any, length: int | None) -> None:
    arguments = {"vocabulary_size": 30, "mask_selection_rate": 0.5, "mask_token_id": 4, "seed": 3}
    arguments["mask_selection_length"] = length
    layer, module = MaskedLMMaskGenerator(**arguments), tf_mlm.MaskedLMMaskGenerator(**arguments)
    assert values(layer(inputs, step=5)) == values(module(inputs, step=5))
    for _ in range(2):
        assert values(layer(inputs)) == values(module(inputs))


def test_in_a_dataset_and_in_a_model(tmp_path: Path) -> None:
    masker = MaskedLMMaskGenerator(30, 0.5, 4, 5, seed=3)
    batches = tf.data.Dataset.from_tensor_slices(IDS).batch(4).map(masker)
    for batch in batches:
        assert batch["mask_positions"].shape == (4, 5)
        assert not np.any(batch["token_ids"].numpy()[:, 0] == 0)
    ids = keras.Input([12], dtype="int32")
    encoder = Encoder(CONFIG)
    masked = masker(ids)
    logits = MaskedLMHead(token_embedding=encoder.token_embedding)(
        encoder(masked["token_ids"]), masked["mask_positions"]
    )
    model = keras.Model(ids, {"logits": logits, "mask_ids": masked["mask_ids"]})
    assert model.predict(IDS, verbose=0)["logits"].shape == (16, 5, 30)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ours, theirs = model.predict(IDS, verbose=0), loaded.predict(IDS, verbose=0)
    np.testing.assert_array_equal(ours["mask_ids"], theirs["mask_ids"])  # the number of calls is saved
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-6)


def test_a_config_describes_it() -> None:
    masker = MaskedLMMaskGenerator(
        30, 0.5, 4, 5, (0, np.int64(2)), seed=3, whole_word=True, continuation_token_ids=[7], name="masks"
    )
    copy = MaskedLMMaskGenerator.from_config(masker.get_config())
    assert copy.get_config() == masker.get_config()
    assert values(copy(IDS)) == values(masker(IDS))
