"""A corpus larger than a machine: cut into units of work, which one idempotent function does."""
