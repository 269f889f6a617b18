"""Pictures of networks and of runs: matplotlib figures written as PNG files, without its global state."""
