"""Events of users: a click on an item, a browse or a purchase of it."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from schemas.fields import (
    MAX_ID_CHARS,
    MAX_INT32,
    MAX_TIME_MS,
    Currency,
    EventId,
    EventTimeMs,
    Id,
    ItemId,
    Price,
    UserId,
)

EventType = Literal["click", "browse", "purchase"]

# an event type's code is its index here; codes are stored, so the order never changes
EVENT_TYPES: Final[tuple[EventType, ...]] = ("click", "browse", "purchase")
CLICK: Final = 0
BROWSE: Final = 1
PURCHASE: Final = 2

Count = Annotated[int, Meta(ge=0, le=MAX_INT32)]


class Event(Struct, kw_only=True, frozen=True, gc=False):
    """Fields of every event."""

    event_id: EventId
    user_id: UserId
    item_id: ItemId
    event_time_ms: EventTimeMs
    session_id: Annotated[Id, Meta(description="The visit that the event belongs to.")] | None = None
    recommendation_id: Annotated[Id, Meta(description="The recommendation that the user followed.")] | None = None


class Click(Event, kw_only=True, frozen=True, gc=False):
    """A user clicked an item in a list, such as a search result, a category page or a recommendation."""

    list: (
        Annotated[str, Meta(max_length=MAX_ID_CHARS, description="Name of the list that the item was shown in.")] | None
    ) = None
    position: Annotated[Count, Meta(description="Position of the item in that list; the first is 0.")] | None = None


class Browse(Event, kw_only=True, frozen=True, gc=False):
    """A user looked at an item's page."""

    dwell_ms: (
        Annotated[int, Meta(ge=0, le=MAX_TIME_MS, description="How long the page was looked at, in milliseconds.")]
        | None
    ) = None


class Purchase(Event, kw_only=True, frozen=True, gc=False):
    """A user bought an item."""

    quantity: Annotated[int, Meta(ge=1, le=MAX_INT32, description="How many pieces were bought.")] = 1
    price: Annotated[Price, Meta(description="Price of one piece, in units of the currency.")] | None = None
    currency: Currency | None = None


EVENT_CLASSES: Final[tuple[type[Click], type[Browse], type[Purchase]]] = (Click, Browse, Purchase)
