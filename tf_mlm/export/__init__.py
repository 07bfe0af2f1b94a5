"""One SavedModel that takes raw strings."""
