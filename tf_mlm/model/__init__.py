"""Encoder, masked language model, what can be asked of it, and fill-mask."""
