"""AutoNL: lightweight non-local networks and the search that places and sizes them."""

__version__ = "0.1.0"
