"""Timings beside the peers, in one process, on the same weights and inputs. See `tf-mlm bench --help`."""
