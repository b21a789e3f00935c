"""Items and lists made by hand for the console's tests."""

from collections.abc import Sequence

from schemas.catalog import CatalogItem
from schemas.recommendation import Cause, Reason, ReasonKind, Recommendation, RecommendedItem, Revision, Share
from streams.console.shelves import Shelves, stocked


def item(
    item_id: str, *category: str, title: str = "", available: bool = True, price: float | None = 5.0
) -> CatalogItem:
    return CatalogItem(
        item_id=item_id,
        title=title or item_id.title(),
        category=list(category),
        brand="Brand",
        price=price,
        currency="EUR",
        available=available,
    )


def shelves(*items: CatalogItem) -> Shelves:
    found = Shelves()
    for one in items:
        found.put(stocked(one))
    return found


def listed(
    item_id: str, recents: Sequence[tuple[str, float]] = (), older: float = 0.0, kind: ReasonKind = "recent"
) -> RecommendedItem:
    """An item with the parts that click events of ``recents`` and everything older have in its score."""
    shares = [Share(item_id=one, event_type="click", share=share) for one, share in recents]
    return RecommendedItem(
        item_id=item_id, score=1.0, reason=Reason(kind=kind, exact=True, recents=shares, older=older)
    )


def recommendation(
    user_id: str, items: Sequence[RecommendedItem], sequence: int = 1, event_id: str = "", cause_item: str = "tea"
) -> Recommendation:
    return Recommendation(
        recommendation_id=f"r{sequence}",
        user_id=user_id,
        revision=Revision(term=1, sequence=sequence),
        items=list(items),
        cause=Cause(event_id=event_id or f"e{sequence}", event_type="click", item_id=cause_item, event_time_ms=1),
        encoder_version="v",
        event_time_ms=1,
        received_ms=1_000,
        emitted_ms=1_007,
    )
