"""Loss, optimizer, data, strategy and the training loop."""
