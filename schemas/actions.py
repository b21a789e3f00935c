"""Actions: what users say or do beside events, such as a refund, an item that they hide, or a consent."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from schemas.events import EVENT_TYPES, EventType
from schemas.fields import MAX_ID_CHARS, EventId, EventTimeMs, Id, ItemId, UserId

ActionType = Literal["refund", "cart_removal", "hide", "consent", "impression"]
CauseType = Literal[EventType, ActionType]

ACTION_TYPES: Final[tuple[ActionType, ...]] = get_args(ActionType)
CAUSE_TYPES: Final[tuple[CauseType, ...]] = (*EVENT_TYPES, *ACTION_TYPES)
"""A cause's code is its index here. Codes are a part of stored identities, so the order never changes."""

_CATEGORIES: Final = 4

Label = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]


class Action(Struct, kw_only=True, frozen=True, gc=False):
    """Fields of every action."""

    event_id: EventId
    user_id: UserId
    event_time_ms: EventTimeMs


class Refund(Action, kw_only=True, frozen=True, gc=False):
    """A purchased item was given back. It may be recommended again, and counts as a purchase with negative weight."""

    action: Annotated[Literal["refund"], Meta(description="Names the action.")]
    item_id: ItemId


class CartRemoval(Action, kw_only=True, frozen=True, gc=False):
    """A user took an item out of the cart. It counts as a click with negative weight."""

    action: Annotated[Literal["cart_removal"], Meta(description="Names the action.")]
    item_id: ItemId


class Hide(Action, kw_only=True, frozen=True, gc=False):
    """A user does not want an item, a brand or a category. Of several, `item_id` counts before `brand`."""

    action: Annotated[Literal["hide"], Meta(description="Names the action.")]
    item_id: Annotated[Id, Meta(description="The item that is hidden.")] | None = None
    brand: Annotated[Label, Meta(description="The brand that is hidden, as in the catalog.")] | None = None
    category: (
        Annotated[Label, Meta(description="The category that is hidden: a name of the catalog's paths.")] | None
    ) = None
    until_ms: (
        Annotated[
            EventTimeMs,
            Meta(
                description="When it may be shown again, in milliseconds since 1970-01-01 UTC; 0: at once. Without it: "
                "never."
            ),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.item_id is None and self.brand is None and self.category is None:
            # msgspec's own sentence: `explain` names the field
            raise ValueError("Object missing required field `item_id`")


class Consent(Action, kw_only=True, frozen=True, gc=False):
    """A user gave or withdrew a consent."""

    action: Annotated[Literal["consent"], Meta(description="Names the action.")]
    given: Annotated[bool, Meta(description="Whether the consent was given; false withdraws it.")]
    purpose: Annotated[Label, Meta(description="What it is given for.")] = "marketing"


class Impression(Action, kw_only=True, frozen=True, gc=False):
    """A list of items was shown to a user."""

    action: Annotated[Literal["impression"], Meta(description="Names the action.")]
    items: Annotated[list[ItemId], Meta(min_length=1, max_length=1_000, description="The items shown, from the top.")]
    placement: Annotated[Label, Meta(description="Where they were shown, such as home or cart.")] | None = None
    recommendation_id: Annotated[Id, Meta(description="The recommendation that was shown.")] | None = None


def labels(brand: str, category: Sequence[str]) -> tuple[str, ...]:
    """Name the brand and the categories by which users can hide an item: of a long path, the first three and the last.

    >>> labels("Leaf", ["Tea", "Green", "Japan", "Sencha", "Kyoto"])
    ('brand=Leaf', 'category=Tea', 'category=Green', 'category=Japan', 'category=Kyoto')
    """
    names = category if len(category) <= _CATEGORIES else [*category[: _CATEGORIES - 1], category[-1]]
    of_brand = (f"brand={brand}",) if brand else ()
    return (*of_brand, *(f"category={name}" for name in names if name))


def thing_of(action: Action) -> str:
    """Name the thing that an action is about. It is a part of the action's identity, as an event's item is.

    >>> thing_of(Consent(action="consent", event_id="c", user_id="u", event_time_ms=0, given=True, purpose="ads"))
    'purpose=ads'
    """
    if isinstance(action, Consent):
        return f"purpose={action.purpose}"
    if isinstance(action, Hide) and action.item_id is None:
        return labels(action.brand or "", [action.category or ""])[0]
    return str(getattr(action, "item_id", ""))


ACTION_CLASSES: Final[dict[ActionType, type[Action]]] = {
    "refund": Refund,
    "cart_removal": CartRemoval,
    "hide": Hide,
    "consent": Consent,
    "impression": Impression,
}
