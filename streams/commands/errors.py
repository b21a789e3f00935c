"""Exit codes, and the error of a command. Every `PrefstreamError` is one sentence and exit code 1; others are bugs."""

from streams.errors import PrefstreamError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it


class CommandError(PrefstreamError):
    """A command can't do what was asked; the message says why and what to do about it."""
