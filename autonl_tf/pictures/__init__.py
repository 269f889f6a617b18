"""Pictures of networks and of runs: matplotlib figures written as PNG files, without its global state."""

SOFTWARE = "AutoNL-TF"  # what a PNG file says it was written by
