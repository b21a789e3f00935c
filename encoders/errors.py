"""The one error of this package."""

from schemas.errors import PrefstreamError


class EncoderError(PrefstreamError):
    """An encoder folder, device or graph that can't be used; its text is a sentence that says what to do."""
