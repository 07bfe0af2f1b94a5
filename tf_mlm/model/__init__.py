"""Encoder, masked language model, fill-mask, and the model directory."""
