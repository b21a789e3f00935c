"""The one error that this package raises on purpose."""


class StackError(Exception):
    """The local stack can't do the command; the message says why and what to do."""
