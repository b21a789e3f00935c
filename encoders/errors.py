"""The one error of this package."""


class EncoderError(Exception):
    """An encoder folder, device or graph that can't be used; its text is a sentence that says what to do."""
