"""Attacks on a running server, one file per kind, and the ordinary client that must not notice them.

`tools/attack` runs them against the embedded server. Nothing here knows how the server is made: an attack has
two addresses and bytes, and is judged by the answers and latencies of an ordinary client beside it, by the
server's memory, and by whether the server still hears SIGTERM at the end.
"""
