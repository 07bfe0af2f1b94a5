"""The head and the encoder as Keras layers: `fit`, a `.keras` file, and back to a model that can be exported.

python docs/examples/keras_fit.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np

import tf_mlm

VOCABULARY, LENGTH, MASKS = 50, 12, 3


def main(rows: int = 256) -> float:
    """Trains, saves, loads again, and returns the last loss."""
    config = tf_mlm.ModelConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    encoder = tf_mlm.keras.Encoder(config)
    head = tf_mlm.keras.MaskedLMHead(token_embedding=encoder.token_embedding, intermediate_activation="gelu")
    token_ids = keras.Input([LENGTH], dtype="int32")
    positions = keras.Input([MASKS], dtype="int32")
    model = keras.Model([token_ids, positions], head(encoder(token_ids), positions))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    # Rows that count upwards: what is hidden follows from what stands before it.
    chance = np.random.default_rng(1)
    ids = 5 + (chance.integers(0, VOCABULARY - 5, [rows, 1]) + np.arange(LENGTH)) % (VOCABULARY - 5)
    places = np.sort(chance.permuted(np.tile(np.arange(LENGTH), [rows, 1]), axis=1)[:, :MASKS])
    labels = np.take_along_axis(ids, places, 1)
    np.put_along_axis(ids, places, 4, 1)  # [MASK]
    history = model.fit([ids, places], labels, batch_size=32, epochs=3, verbose=0)
    losses = history.history["loss"]
    print("loss", [round(loss, 3) for loss in losses])

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file)
        again = keras.models.load_model(file)
    assert np.allclose(again([ids[:2], places[:2]]), model([ids[:2], places[:2]]), atol=1e-5)

    plain = tf_mlm.MaskedLM(encoder.module, head.module)  # tf_mlm.save and tf_mlm.export take it
    print("logits", plain(ids[:2], mask_positions=places[:2]).shape)
    return float(losses[-1])


if __name__ == "__main__":
    main()
