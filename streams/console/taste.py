"""A shopper's taste by category, as far as the topics tell it: lately against all along."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from schemas.recommendation import Recommendation
from streams.console.shelves import Product
from streams.console.shoppers import Known
from streams.settings import TypeWeights

FindProduct = Callable[[str], Product | None]

_MOST_ROWS = 6
OTHER = "Other"

Place = tuple[str, str]  # department, category


class TasteRow(Struct, frozen=True, kw_only=True, gc=False):
    """A category's part of the taste; each column adds up to 1 over all rows, or is all 0 where nothing is known."""

    department: str
    category: str
    lately: float
    all_along: float


def taste(
    latest: Recommendation | None, events: Iterable[Known], find: FindProduct, weights: TypeWeights
) -> list[TasteRow]:
    """The taste, the weightiest category first; what is left over is one last row.

    Parameters
    ----------
    latest : the shopper's list; None: none yet
    events : what is known of what they did
    find : the product of an item id
    weights : what an event of each type counts in ``all_along``

    Returns
    -------
    Rows of ``lately``, the positive shares that recent events have in the scores of the list, summed by the category of
    the event's item; and of ``all_along``, the weights of all known events, summed likewise. Items that the catalog
    does not have count nowhere.
    """
    lately: dict[Place, float] = defaultdict(float)
    for item in latest.items if latest is not None else ():
        for share in item.reason.recents:
            if share.share > 0 and (product := find(share.item_id)) is not None:
                lately[product.department, product.category] += share.share
    all_along: dict[Place, float] = defaultdict(float)
    for event in events:
        if (product := find(event.item_id)) is not None:
            all_along[product.department, product.category] += getattr(weights, event.event_type)
    return _rows(_parts(lately), _parts(all_along))


def _parts(sums: dict[Place, float]) -> dict[Place, float]:
    total = sum(sums.values())
    return {place: value / total for place, value in sums.items()} if total > 0 else {}


def _rows(lately: dict[Place, float], all_along: dict[Place, float]) -> list[TasteRow]:
    def row(place: Place) -> TasteRow:
        return TasteRow(
            department=place[0],
            category=place[1],
            lately=lately.get(place, 0.0),
            all_along=all_along.get(place, 0.0),
        )

    rows = [row(place) for place in lately.keys() | all_along.keys()]
    rows.sort(key=lambda one: (-one.lately - one.all_along, one.department, one.category))
    if len(rows) <= _MOST_ROWS:
        return rows
    shown, rest = rows[: _MOST_ROWS - 1], rows[_MOST_ROWS - 1 :]
    other = TasteRow(
        department=OTHER,
        category=OTHER,
        lately=sum(one.lately for one in rest),
        all_along=sum(one.all_along for one in rest),
    )
    return [*shown, other]
