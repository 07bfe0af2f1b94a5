"""A corpus job whose workers are killed at random, and whose output must not show it."""
