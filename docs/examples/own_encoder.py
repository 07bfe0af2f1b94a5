"""An encoder of my own, with this package's head and masks, in a training loop of my own.

python docs/examples/own_encoder.py
"""

from __future__ import annotations

import tensorflow as tf

import tf_mlm

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "a", "cat", "dog", "bird", "sat", "ran", "slept", "on", "mat", "log", ".")
TEXTS = ["the cat sat on the mat .", "the dog ran on the log .", "a bird slept on a mat ."]


class Convolutions(tf.Module):
    """Each position sees its neighbours, and through more blocks theirs."""

    def __init__(self, config: tf_mlm.ModelConfig) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        initial = tf.random.Generator.from_seed(1)
        self.embedding = tf_mlm.ReversibleEmbedding(config.vocab_size, size)
        self.blocks = [
            tf.Variable(initial.normal([3, size, size], stddev=0.1)) for _ in range(config.num_hidden_layers)
        ]

    def __call__(self, token_ids, lengths, segment_ids, *, dropout_seed=None):
        """Hidden states [batch, length, hidden]; what stands behind a row's length counts nothing."""
        real = tf.sequence_mask(lengths, tf.shape(token_ids)[1], tf.float32)[..., tf.newaxis]
        x = self.embedding(token_ids) * real
        for kernel in self.blocks:
            x = (x + tf.nn.gelu(tf.nn.conv1d(x, kernel, stride=1, padding="SAME"))) * real
        return x


def main(steps: int = 200) -> float:
    """Trains, fills a mask, and returns the last loss."""
    vocabulary = tf_mlm.Vocabulary(SPECIAL + WORDS)
    preprocessor = tf_mlm.TextPreprocessor(vocabulary, max_length=16)
    config = tf_mlm.ModelConfig(
        vocab_size=vocabulary.size, hidden_size=32, num_hidden_layers=2, num_attention_heads=1
    )
    encoder = Convolutions(config)
    head = tf_mlm.MaskedLMHead(
        token_embedding=encoder.embedding, intermediate_activation="gelu", hidden_dim=32
    )
    model = tf_mlm.MaskedLM(encoder, head, preprocessor=preprocessor)

    masker = tf_mlm.MaskedLMMaskGenerator(
        vocabulary.size,
        mask_selection_rate=0.3,
        mask_token_id=vocabulary.mask_id,
        mask_selection_length=3,
        unselectable_token_ids=[0, 1, 2, 3, 4],
        seed=1,
    )
    optimizer = tf.keras.optimizers.Adam(0.01)
    inputs = preprocessor(TEXTS)

    @tf.function
    def step(masked):
        with tf.GradientTape() as tape:
            logits = model(masked)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(masked["mask_ids"], logits)
            loss = tf.reduce_sum(losses * masked["mask_weights"]) / tf.reduce_sum(masked["mask_weights"])
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    for _ in range(steps):
        loss = step(masker(inputs))
    print(f"loss {loss:.3f}")
    for fill in tf_mlm.FillMask(model)("the [MASK] sat on the mat .", top_k=3):
        print(f"{fill['score']:.3f}  {fill['sequence']}")
    return float(loss)


if __name__ == "__main__":
    main()
