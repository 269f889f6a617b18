"""Training: strategy, optimizer, averages, train step, outer loop, checkpoints, logs."""
