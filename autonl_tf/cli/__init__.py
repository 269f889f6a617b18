"""The command line: flags to a config, a config to a command, and what goes wrong to a line and an exit code."""
