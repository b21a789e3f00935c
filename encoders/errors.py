"""The one error of this package."""

from schemas.errors import PrefstreamError


class EncoderError(PrefstreamError):
    """An encoder folder, device or graph can't be used; the message is a sentence that says what to do."""
