"""Checkpoints of other systems to model directories."""
