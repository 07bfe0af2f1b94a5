"""Tensors and examples as JSON, as TF-Serving reads and writes them."""
