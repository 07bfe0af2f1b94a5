"""What questions go to: a model directory, an export on disk, or a server. One client for each of them."""
