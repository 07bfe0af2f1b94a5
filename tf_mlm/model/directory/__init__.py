"""Model directories: Hugging Face's layout, read and written."""
