"""The TF-Serving protocols for any SavedModel, and a client for them."""
