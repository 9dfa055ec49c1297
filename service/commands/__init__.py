"""The commands of `lamegan`, one module a command."""

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C; here, where it is known before any command is imported."""
