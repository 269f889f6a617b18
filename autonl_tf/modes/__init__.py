"""One `run(config)` a mode: wires the rooms together."""
