"""A corpus larger than a machine: a plan of units, one idempotent function, an adapter per engine."""
