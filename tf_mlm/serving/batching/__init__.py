"""Requests of several clients, merged into one run of the graph."""
