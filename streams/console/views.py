"""Makes what the page is sent: lists with titles and reasons, the taste, others' lists. Plain text, never markup."""

from collections.abc import Iterable
from itertools import islice

from msgspec import Struct

from schemas.recommendation import Recommendation, RecommendedItem
from streams.console.shelves import NO_CATEGORY, Offered, Product, Shelves
from streams.console.shoppers import Shopper, Shoppers
from streams.console.taste import TasteRow, taste
from streams.display_text import cause_text, did, reason_text, safe
from streams.settings import TypeWeights

LISTED = 10
"""Number of items of a list that the page shows."""
_OTHERS = 4
_OTHERS_ITEMS = 5
_MOST_SHOPPERS = 60
"""Most shoppers that can be chosen."""


class Part(Struct, frozen=True, kw_only=True, gc=False):
    """A positive part of an item's score."""

    label: str
    department: str | None
    """Department of the event's item; None if the part is not of a single event."""
    share: float
    """Share of the sum of all positive parts; the shares of an item add up to 1."""


class Recommended(Struct, frozen=True, kw_only=True):
    """An item of the list."""

    product: Product
    because: str
    parts: list[Part]
    exact: bool


class CauseView(Struct, frozen=True, kw_only=True):
    """The event that caused a list."""

    event_id: str
    text: str
    """The event in words, such as "clicked Smoky Lapsang"."""


class ListView(Struct, frozen=True, kw_only=True):
    """Everything that is shown about one shopper."""

    user_id: str
    recommendation_id: str | None
    """Id of the list; None: there is no list (yet, or any more)."""
    cause: CauseView | None
    worker_ms: int | None
    """Milliseconds from when the worker had the event to when it sent the list."""
    items: list[Recommended]
    taste: list[TasteRow]
    events: int
    """Number of the shopper's events that are known here."""


class OtherView(Struct, frozen=True, kw_only=True):
    """Another shopper, shown beside this one."""

    user_id: str
    did: str
    items: list[Product]
    common: int
    """Number of items that are in both shoppers' lists, among the items that the page shows."""


class ShopView(Struct, frozen=True, kw_only=True):
    """The shop as a whole: what can be chosen on the page."""

    namespace: str
    products: int
    offered: Offered
    shoppers: list[str]
    gone: list[str]
    """Ids of items that were withdrawn or removed lately: an open page takes their cards away."""


class Views:
    """Makes the views from the catalog and the shoppers."""

    def __init__(self, namespace: str, shelves: Shelves, shoppers: Shoppers, weights: TypeWeights) -> None:
        self._namespace, self._shelves, self._shoppers, self._weights = namespace, shelves, shoppers, weights

    def shop(self) -> ShopView:
        """Make the view of the whole shop."""
        names = [user_id for user_id, _ in self._shoppers.latest_first()]
        return ShopView(
            namespace=self._namespace,
            products=len(self._shelves),
            offered=self._shelves.offered(),
            shoppers=sorted(names[:_MOST_SHOPPERS]),
            gone=self._shelves.gone(),
        )

    def list_of(self, user_id: str) -> ListView:
        """Make the view of a shopper's list and taste; it is empty for an unknown shopper."""
        shopper = self._shoppers.get(user_id) or Shopper()
        latest = shopper.latest
        cause = None
        if latest is not None:
            cause = CauseView(event_id=latest.cause.event_id, text=cause_text(latest.cause, self._title))
        return ListView(
            user_id=user_id,
            recommendation_id=None if latest is None else latest.recommendation_id,
            cause=cause,
            worker_ms=None if latest is None else max(0, latest.emitted_ms - latest.received_ms),
            items=[] if latest is None else [self._recommended(item) for item in self._sold(latest)],
            taste=taste(latest, shopper.events, self._shelves.get, self._weights),
            events=len(shopper.events),
        )

    def others(self, user_id: str, before: Iterable[str] = ()) -> list[OtherView]:
        """Choose other shoppers: those shown ``before`` who still have a list, then those with the latest news."""
        mine = set(self._top(user_id))
        names = [name for name, _ in self._shoppers.latest_first()]
        wanted = (name for name in dict.fromkeys([*before, *names]) if name != user_id and self._top(name))
        return [self._other(name, mine) for name in islice(wanted, _OTHERS)]

    def _other(self, user_id: str, mine: set[str]) -> OtherView:
        shopper = self._shoppers.get(user_id)
        assert shopper is not None, "a chosen shopper has a list"
        assert shopper.latest is not None, "a chosen shopper has a list"
        cause, top = shopper.latest.cause, self._top(user_id)
        return OtherView(
            user_id=user_id,
            did=cause_text(cause, self._title),
            items=[self._product(item_id) for item_id in top[:_OTHERS_ITEMS]],
            common=len(mine.intersection(top)),
        )

    def _top(self, user_id: str) -> list[str]:
        shopper = self._shoppers.get(user_id)
        if shopper is None or shopper.latest is None:
            return []
        return [item.item_id for item in self._sold(shopper.latest)]

    def _sold(self, recommendation: Recommendation) -> list[RecommendedItem]:
        """The items to show of a list: not those that left the shop since the list was made."""
        items = (item for item in recommendation.items if not self._shelves.has_left(item.item_id))
        return list(islice(items, LISTED))

    def _recommended(self, item: RecommendedItem) -> Recommended:
        return Recommended(
            product=self._product(item.item_id),
            because=reason_text(item.reason, self._title),
            parts=self._parts(item),
            exact=item.reason is None or item.reason.exact,
        )

    def _parts(self, item: RecommendedItem) -> list[Part]:
        reason = item.reason
        if reason is None:
            return []
        parts: list[tuple[str, str | None, float]] = []
        for share in reason.recents:
            product = self._shelves.get(share.item_id)
            label = f"{did(share.event_type)} {self._title(share.item_id)}"
            parts.append((label, None if product is None else product.department, share.share))
        parts += [
            ("other recent events", None, reason.other_recents),
            ("everything before", None, reason.older),
            ("score adjustments", None, reason.bonus),
            ("for every shopper", None, reason.bias),
            ("all other parts", None, reason.rest),
        ]
        total = sum(part for _, _, part in parts if part > 0)
        return [
            Part(label=label, department=department, share=part / total)
            for label, department, part in parts
            if part > 0
        ]

    def _product(self, item_id: str) -> Product:
        return self._shelves.get(item_id) or Product(
            item_id=item_id,
            title=item_id,
            department=NO_CATEGORY,
            category=NO_CATEGORY,
            brand="",
            price=None,
            currency=None,
        )

    def _title(self, item_id: str) -> str:
        product = self._shelves.get(item_id)
        return safe(item_id if product is None else product.title, 80)
