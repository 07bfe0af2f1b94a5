"""A run of seconds, whose model is saved, stopped and continued."""

from __future__ import annotations

from tf_mlm.training.options import TrainConfig

SHORT_RUN = TrainConfig(
    steps=6,
    batch_size=4,
    length=24,
    whole_word=True,
    held_out=0.1,
    evaluation_rows=8,
    evaluate_every=6,
    checkpoint_every=2,
    steps_per_call=2,
    strategy="cpu",
)
