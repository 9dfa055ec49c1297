"""The commands of `lamegan`, one module a command."""
