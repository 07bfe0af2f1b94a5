"""The manual: what its blocks say is run, and what cannot be run is checked."""
