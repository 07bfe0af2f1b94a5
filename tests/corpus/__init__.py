"""Tests of corpora; a package, so that they can share what jobs wrote."""
