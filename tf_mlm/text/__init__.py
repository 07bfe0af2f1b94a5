"""Strings to dense int32 ids in the graph, and back."""
