"""What can be asked: a model directory, an export on disk or a server, each opened as a client."""
