"""The one error that this package raises on purpose."""


class StackError(Exception):
    """The local stack can't do what was asked; the message says why and what to do about it."""
