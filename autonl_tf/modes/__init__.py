"""One `run(config)` a mode: puts the other folders to work."""
