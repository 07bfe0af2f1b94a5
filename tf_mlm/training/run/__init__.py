"""A run from start to end: trainer, loop, time budget, checkpoints, resume, and what it reports."""
