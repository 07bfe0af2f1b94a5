"""Which models and versions there are: found, loaded, warmed up, run and unloaded."""
