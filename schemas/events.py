"""Events of users: a click on an item, a browse or a purchase of it."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

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
    Quantity,
    UserId,
)

EventType = Literal["click", "browse", "purchase"]
Intent = Literal["cart", "favourite"]

# an event type's code is its index here; codes are stored, so the order never changes
EVENT_TYPES: Final[tuple[EventType, ...]] = ("click", "browse", "purchase")
CLICK: Final = 0
BROWSE: Final = 1
PURCHASE: Final = 2

MAX_ORDER_LINES: Final = 1_000

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
    intent: (
        Annotated[Intent, Meta(description="What the click was for: it put the item in the cart or on a list.")] | None
    ) = None


class Browse(Event, kw_only=True, frozen=True, gc=False):
    """A user looked at an item's page."""

    dwell_ms: (
        Annotated[int, Meta(ge=0, le=MAX_TIME_MS, description="How long the page was looked at, in milliseconds.")]
        | None
    ) = None


class OrderLine(Struct, kw_only=True, frozen=True, gc=False):
    """An item of an order."""

    item_id: ItemId
    quantity: Quantity = 1
    price: Annotated[Price, Meta(description="Price of one piece, in units of the currency.")] | None = None
    currency: Currency | None = None


class Purchase(Event, kw_only=True, frozen=True, gc=False):
    """A user bought an item, `item_id`, or those of an order, `items`. If both are there, `items` count."""

    # of an order: the item of its first line
    item_id: ItemId = ""
    items: (
        Annotated[
            list[OrderLine],
            Meta(
                min_length=1,
                max_length=MAX_ORDER_LINES,
                description="The lines of an order, which count together. They take the place of `item_id`, "
                "`quantity`, `price` and `currency`. Lines of one item count as one.",
            ),
        ]
        | None
    ) = None
    quantity: Quantity = 1
    price: Annotated[Price, Meta(description="Price of one piece, in units of the currency.")] | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        if self.items:
            force_setattr(self, "item_id", self.items[0].item_id)
        elif not self.item_id:
            # msgspec's own sentence: `explain` names the field
            raise ValueError("Object missing required field `item_id`")


def items_of(event: Event) -> list[str]:
    """Return the ids of an event's items, each once: one, or those of an order in the order of its lines.

    >>> lines = [OrderLine(item_id="tea", quantity=0.5), OrderLine(item_id="pot"), OrderLine(item_id="tea")]
    >>> items_of(Purchase(event_id="o1", user_id="ann", event_time_ms=0, items=lines))
    ['tea', 'pot']
    """
    lines = event.items if isinstance(event, Purchase) else None
    return list(dict.fromkeys(line.item_id for line in lines)) if lines else [event.item_id]


EVENT_CLASSES: Final[tuple[type[Click], type[Browse], type[Purchase]]] = (Click, Browse, Purchase)
