"""Turns ids, titles, bytes, times and reasons into text that is safe to show in a terminal."""

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime

from schemas.actions import CauseType
from schemas.recommendation import Cause, Reason

# controls, lone surrogates, line and paragraph separators: they are invisible, and some move the cursor
_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
# characters that change the direction of the text after them
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_DID: dict[CauseType, str] = {
    "click": "clicked",
    "browse": "looked at",
    "purchase": "bought",
    "refund": "returned",
    "cart_removal": "took out of the cart",
    "hide": "hid",
}


def safe(text: str, limit: int = 0) -> str:
    """Remove control characters from ``text``, and cut it to ``limit`` characters unless ``limit`` is 0.

    >>> safe("red\\x1b[31m shoe")
    'red[31m shoe'
    """
    if not text.isprintable():
        text = "".join(c for c in text if unicodedata.category(c) not in _HIDDEN and c not in _BIDI)
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def safe_bytes(data: bytes) -> str:
    r"""Show bytes as text: printable UTF-8 stays as it is, all other bytes become escapes.

    >>> safe_bytes(b'{"a": 1}\x00\xff')
    '{"a": 1}\\x00\\xff'
    """
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def time_text(time_ms: int) -> str:
    """Show a time in UTC, to the second; a number that is no date is shown as a number."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return str(time_ms)


def duration_text(seconds: float) -> str:
    """Show a length of time in the largest unit that fits.

    >>> duration_text(3600), duration_text(90), duration_text(604800)
    ('1 hour', '90 seconds', '7 days')
    """
    for unit, size in (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.3g} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:.3g} second{'' if seconds == 1 else 's'}"


def did(event_type: CauseType) -> str:
    """Return the verb for the type of an event or action, such as "clicked", "bought" or "hid"."""
    return _DID.get(event_type, "changed")


def cause_text(cause: Cause, title: Callable[[str], str]) -> str:
    """Say what the user did before a list was made; ``title`` gives the title of an item id.

    >>> cause = Cause(event_id="e", event_type="hide", item_id="", event_time_ms=0)
    >>> cause_text(cause, str.upper)
    'hid a brand or a category'
    """
    return f"{did(cause.event_type)} {title(cause.item_id) if cause.item_id else 'a brand or a category'}"


def reason_text(reason: Reason | None, title: Callable[[str], str]) -> str:
    """Say why an item is recommended: the event that contributed most to its score, or another source of the score.

    ``title`` gives the title of an item id. Without a reason the text is empty (`output.reasons` is none).

    >>> from schemas.recommendation import Share
    >>> share = Share(item_id="lamp-1", event_type="purchase", share=0.5)
    >>> reason_text(Reason(kind="recent", exact=True, recents=[share]), {"lamp-1": "Blue Lamp"}.__getitem__)
    'because you bought Blue Lamp'
    """
    if reason is None:
        return ""
    if reason.kind == "recent" and reason.recents and reason.recents[0].share > 0:
        return f"because you {did(reason.recents[0].event_type)} {title(reason.recents[0].item_id)}"
    return {
        "recent": "nothing closer to your taste is left",  # no event speaks for the item: the catalog is small
        "older": "like what you have long looked for",
        "trending": "trending now",
        "bonus": "raised by a score adjustment",
        "bias": "popular with everybody",
        "seen-again": "you have seen everything else",
    }[reason.kind]
