"""Works out a shopper's taste by category from the topics: of the last events, and of all known events."""

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

CategoryPath = tuple[str, str]  # department, category


class TasteRow(Struct, frozen=True, kw_only=True, gc=False):
    """A category's part of the taste. Each column adds up to 1 over all rows, or is all 0 if nothing is known."""

    department: str
    category: str
    lately: float
    all_along: float


def taste(
    latest: Recommendation | None, events: Iterable[Known], find: FindProduct, weights: TypeWeights
) -> list[TasteRow]:
    """Work out the taste, the category with the most weight first; the last row sums up the remaining categories.

    Parameters
    ----------
    latest : the shopper's list; None: there is none yet
    events : the known events of the shopper
    find : returns the product of an item id
    weights : the weight of an event of each type in ``all_along``

    Returns
    -------
    Rows with two columns, both summed by the category of an event's item. ``lately`` sums the positive shares that
    recent events have in the scores of the list. ``all_along`` sums the weights of all known events. Items that the
    catalog does not have are ignored.
    """
    lately: dict[CategoryPath, float] = defaultdict(float)
    for item in latest.items if latest is not None else ():
        for share in item.reason.recents if item.reason is not None else ():
            if share.share > 0 and (product := find(share.item_id)) is not None:
                lately[product.department, product.category] += share.share
    all_along: dict[CategoryPath, float] = defaultdict(float)
    for event in events:
        if (product := find(event.item_id)) is not None:
            all_along[product.department, product.category] += getattr(weights, event.event_type)
    return _rows(_parts(lately), _parts(all_along))


def _parts(sums: dict[CategoryPath, float]) -> dict[CategoryPath, float]:
    total = sum(sums.values())
    return {path: value / total for path, value in sums.items()} if total > 0 else {}


def _rows(lately: dict[CategoryPath, float], all_along: dict[CategoryPath, float]) -> list[TasteRow]:
    def make_row(path: CategoryPath) -> TasteRow:
        return TasteRow(
            department=path[0],
            category=path[1],
            lately=lately.get(path, 0.0),
            all_along=all_along.get(path, 0.0),
        )

    rows = [make_row(path) for path in lately.keys() | all_along.keys()]
    rows.sort(key=lambda row: (-row.lately - row.all_along, row.department, row.category))
    if len(rows) <= _MOST_ROWS:
        return rows
    shown, rest = rows[: _MOST_ROWS - 1], rows[_MOST_ROWS - 1 :]
    other = TasteRow(
        department=OTHER,
        category=OTHER,
        lately=sum(row.lately for row in rest),
        all_along=sum(row.all_along for row in rest),
    )
    return [*shown, other]
