"""The command line: `everforge run`, `evaluate`, `suite`, `doctor`."""
