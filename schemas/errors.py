"""The root of all errors that prefstream raises on purpose, and the error of bad input."""

from enum import StrEnum

MAX_DETAIL_CHARS = 500
MAX_FIELD_CHARS = 300


class PrefstreamError(Exception):
    """Root of prefstream's own errors; the message is a sentence that says what to do."""


class DecodeReason(StrEnum):
    """Why a message was refused. Metrics and dead letters hold the values, so these never change."""

    NULL_VALUE = "null-value"
    MALFORMED = "malformed"
    MISSING_FIELD = "missing-field"
    WRONG_TYPE = "wrong-type"
    OUT_OF_RANGE = "out-of-range"
    UNSUPPORTED_CONTENT_TYPE = "unsupported-content-type"
    TIME_IN_FUTURE = "time-in-future"
    TOO_LARGE = "too-large"
    PROFILE_UNREADABLE = "profile-unreadable"
    PROFILE_NEWER = "profile-newer"


class DecodeError(PrefstreamError):
    """A message can't be used. Its sender is at fault, and trying again won't help.

    Attributes
    ----------
    reason : DecodeReason
    field : str or None
        Path of the field at fault, such as ``price`` or ``items[0].score``; None for the whole message. Cut to
        ``MAX_FIELD_CHARS``.
    detail : str
        A sentence: what was read and what was expected. Cut to ``MAX_DETAIL_CHARS``.
    """

    def __init__(self, reason: DecodeReason, field: str | None, detail: str) -> None:
        # both may quote the input, which is not bounded and may hold lone surrogates
        self.detail = _printable(detail, MAX_DETAIL_CHARS)
        self.field = None if field is None else _printable(field, MAX_FIELD_CHARS)
        self.reason = reason
        super().__init__(reason, self.field, self.detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def _printable(text: str, max_chars: int) -> str:
    text = text if len(text) <= max_chars else text[: max_chars - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()
