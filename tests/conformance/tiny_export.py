"""A masked language model so small that a server answers it in a millisecond, as an export."""

from __future__ import annotations

from pathlib import Path

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "cat", "dog", "sat", "ran", "on", "a", "mat", "fast", ".", ",", "##s", "##ing")
HIDDEN, LENGTH, TOP_K = 4, 16, 3


def write(base_path: Path, xla: bool) -> Path:
    """One layer of four units for texts of up to 16 tokens; the same weights every time."""
    from tf_mlm.config import Buckets, ModelConfig
    from tf_mlm.export.saved_model import export
    from tf_mlm.model.masked_lm import MaskedLM
    from tf_mlm.text.preprocessor import TextPreprocessor
    from tf_mlm.text.vocabulary import Vocabulary

    vocabulary = Vocabulary(SPECIAL + WORDS)
    config = ModelConfig(
        vocab_size=vocabulary.size,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=LENGTH,
        initializer_range=0.5,  # far from uniform answers, so that a wrong one would show
    )
    model = MaskedLM.from_config(config, seed=7, preprocessor=TextPreprocessor(vocabulary, LENGTH))
    buckets = Buckets(batch=(4,), length=(LENGTH,), masks=(4,))  # few programs, which XLA compiles at start
    return export(model, base_path, buckets=buckets, top_k=TOP_K, xla=xla)
