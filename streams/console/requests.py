"""Reads and checks the fields of the page's requests."""

from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from schemas.codec import decode
from schemas.errors import DecodeError
from schemas.events import Browse, Click, Count, Event, Purchase
from schemas.fields import MAX_ID_CHARS, EventId, Id, ItemId, UserId
from streams.console.guard import Refusal
from streams.console.shelves import Product

MOST_PRODUCTS = 60
"""Most products of one page of the shop."""
_MOST_CHARS = 80
"""Longest search; the limit exists because each word is looked for in every item."""


class Action(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An action of a person on the page."""

    type: Literal["click", "browse", "purchase"]
    event_id: EventId
    user_id: UserId
    item_id: ItemId
    session_id: Id
    recommendation_id: Id | None = None
    list: Annotated[str, Meta(max_length=MAX_ID_CHARS)] | None = None
    position: Count | None = None

    def event(self, product: Product, now_ms: int) -> Event:
        """Make the event of the action, at ``now_ms`` (UTC)."""
        common = {
            "event_id": self.event_id,
            "user_id": self.user_id,
            "item_id": self.item_id,
            "event_time_ms": now_ms,
            "session_id": self.session_id,
            "recommendation_id": self.recommendation_id,
        }
        if self.type == "click":
            return Click(**common, list=self.list, position=self.position)  # type: ignore[arg-type]
        if self.type == "browse":
            return Browse(**common)  # type: ignore[arg-type]
        return Purchase(**common, price=product.price, currency=product.currency)  # type: ignore[arg-type]


def read_action(body: bytes) -> Action:
    """Read the action in a request's body; raises `Refusal`, which names the field at fault."""
    try:
        return decode(Action, body)
    except DecodeError as error:
        raise Refusal(400, f"The event is not valid: {error}.") from None


def user_of(request: web.Request) -> str:
    """Read the shopper's id from the query."""
    user_id = request.query.get("user", "")
    if not 1 <= len(user_id) <= MAX_ID_CHARS:
        raise Refusal(400, f"`user` must have 1 to {MAX_ID_CHARS} characters.")
    return user_id


def words_of(request: web.Request) -> str:
    """Read the words to search for from the query."""
    words = request.query.get("words", "")
    if len(words) > _MOST_CHARS:
        raise Refusal(400, f"`words` must have {_MOST_CHARS} characters at most.")
    return words


def number_of(request: web.Request, name: str, usual: int, largest: int) -> int:
    """Read a number from 0 to ``largest`` from the query; ``usual`` is its default."""
    text = request.query.get(name, str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= largest):
        raise Refusal(400, f"`{name}` must be a number from 0 to {largest}.")
    return int(text)
