"""What the page asks for: the fields of its requests, checked."""

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
"""Of one page of the shop."""
_MOST_CHARS = 80
"""Of a search: each of its words is looked for in every item."""


class Action(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What somebody did on the page."""

    type: Literal["click", "browse", "purchase"]
    event_id: EventId
    user_id: UserId
    item_id: ItemId
    session_id: Id
    recommendation_id: Id | None = None
    list: Annotated[str, Meta(max_length=MAX_ID_CHARS)] | None = None
    position: Count | None = None

    def event(self, product: Product, now_ms: int) -> Event:
        """The event of it, at ``now_ms`` (UTC)."""
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
    """The action in the body of a request; `Refusal` with the field at fault."""
    try:
        return decode(Action, body)
    except DecodeError as error:
        raise Refusal(400, f"The event can't be used: {error}.") from None


def user_of(request: web.Request) -> str:
    """The shopper that a request is about."""
    user_id = request.query.get("user", "")
    if not 1 <= len(user_id) <= MAX_ID_CHARS:
        raise Refusal(400, f"`user` has to be 1 to {MAX_ID_CHARS} characters.")
    return user_id


def words_of(request: web.Request) -> str:
    """The words that are searched for."""
    words = request.query.get("words", "")
    if len(words) > _MOST_CHARS:
        raise Refusal(400, f"`words` has to be {_MOST_CHARS} characters at most.")
    return words


def number_of(request: web.Request, name: str, usual: int, largest: int) -> int:
    """A number of the query, from 0 to ``largest``."""
    text = request.query.get(name, str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= largest):
        raise Refusal(400, f"`{name}` has to be a number from 0 to {largest}.")
    return int(text)
