"""Exports, and stock servers that load them."""
