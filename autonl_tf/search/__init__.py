"""The search: its phases, its objective, and what it found. Above networks and engine, below the commands."""
