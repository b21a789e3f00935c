"""Exit codes, and the error of a command.

A `PrefstreamError` is shown as one sentence and ends with exit code 1. Every other exception is a bug.
"""

from streams.errors import PrefstreamError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells


class CommandError(PrefstreamError):
    """A command can't do what was asked; the message says why, and what the user can do."""
