"""Numeric blocks as plain `tf.Module`s."""
