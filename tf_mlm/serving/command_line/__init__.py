"""The flags of `tensorflow_model_server`, and the files that they name."""
