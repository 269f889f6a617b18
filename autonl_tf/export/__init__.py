"""Networks as files that serve: SavedModel and TFLite, each run again before it is handed over."""
