"""Asks a server, stock or embedded, over gRPC or REST."""
