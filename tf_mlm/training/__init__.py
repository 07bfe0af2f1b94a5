"""Training and evaluation: options, starting model, loss, optimizer, schedule, one step, devices."""
