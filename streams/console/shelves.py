"""The catalog as the page shows it: available items on shelves by category, and a search by words.

It is made for about 100,000 items: a page of a category is a slice of a list, and a search reads one long text.
"""

import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from schemas.catalog import CatalogItem
from schemas.ids import id_hash
from streams.console.haystack import Haystack, Indices
from streams.display_text import safe

NO_CATEGORY = "Everything else"
_MOST_NAMES = 12
"""Most departments that can be chosen, and most categories of a department: the fullest."""

_MOST_GONE = 500

ItemKey = tuple[int, str]
"""Hash of an item's id, and the id. Items are ordered by hash: neighbours in the catalog are often alike, and the
hash spreads them over the shop."""


class Product(Struct, frozen=True, kw_only=True, gc=False):
    """The parts of an item that its card on the page shows."""

    item_id: str
    title: str
    department: str
    category: str
    """The narrowest category of its path; the department if the path has only one name."""
    brand: str
    price: float | None
    currency: str | None


class Page(Struct, frozen=True, kw_only=True):
    """One page of the products that were asked for."""

    products: list[Product]
    total: int
    """Number of products on all pages."""


class Category(Struct, frozen=True, kw_only=True):
    """A category of a department."""

    name: str
    count: int


class Department(Struct, frozen=True, kw_only=True):
    """A department (the first name of category paths) and its categories."""

    name: str
    count: int
    categories: list[Category]
    others: int
    """Number of its categories that can't be chosen."""


class Offered(Struct, frozen=True, kw_only=True):
    """The departments that can be chosen. (The page reads the field `offered`.)"""

    departments: list[Department]
    others: int
    """Number of departments that can't be chosen."""


class Stocked(Struct, frozen=True, gc=False):
    """A product, and the words by which it is found."""

    product: Product
    words: bytes
    """Lower-case words in UTF-8, each after a space."""
    available: bool


def stocked(item: CatalogItem) -> Stocked:
    """Take the parts of a catalog item that are shown or searched."""
    path = [name for name in map(safe, item.category) if name] or [NO_CATEGORY]
    product = Product(
        item_id=item.item_id,
        title=safe(item.title).strip() or item.item_id,
        # thousands of items share these strings: interned, each is in memory once
        department=sys.intern(path[0]),
        category=sys.intern(path[-1]),
        brand=sys.intern(safe(item.brand)),
        price=item.price,
        currency=item.currency and sys.intern(item.currency),
    )
    words = " ".join(["", product.title, product.brand, product.category, product.department])
    return Stocked(product, _letters(words), item.available)


def _letters(text: str) -> bytes:
    return text.casefold().encode("utf-8", "replace")


class Shelf:
    """Item keys in order. They are sorted when they are read, because items arrive in thousands."""

    def __init__(self) -> None:
        self._keys: list[ItemKey] = []
        self._in_order = True

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: ItemKey) -> None:
        """Add a key that the shelf does not hold."""
        self._keys.append(key)
        self._in_order = False

    def remove(self, key: ItemKey) -> None:
        """Remove a key that the shelf holds."""
        keys = self.keys_in_order()
        del keys[bisect_left(keys, key)]

    def keys_in_order(self) -> list[ItemKey]:
        """Return all keys, in order."""
        if not self._in_order:
            self._keys.sort()
            self._in_order = True
        return self._keys


class Shelves:
    """All items by id. Available items are also on shelves, in a mixed order that is always the same."""

    def __init__(self) -> None:
        self._known: dict[str, Stocked] = {}
        self._everything = Shelf()
        self._departments: dict[str, Shelf] = {}
        self._categories: defaultdict[str, dict[str, Shelf]] = defaultdict(dict)  # by department, then by category
        # words and id hashes of all available items; None: they have changed since they were made
        self._searched: tuple[Haystack, NDArray[np.uint64]] | None = None
        self.version = 0
        """Grows with every change."""
        self._offered: tuple[int, Offered] | None = None  # the version that it was made for, and the departments
        self._gone: dict[str, None] = {}  # ordered, the latest last

    def __len__(self) -> int:
        return len(self._everything)

    def put(self, item: Stocked) -> None:
        """Add or replace an item; an item that is not available keeps its name, but is on no shelf."""
        item_id = item.product.item_id
        before = self._known.get(item_id)
        self._known[item_id] = item
        if before is None or (before.words, before.available) != (item.words, item.available):
            self._searched = None
        if before is None or _shelf_of(before) != _shelf_of(item):
            if before is not None:
                self._clear(before)
            if item.available:
                self._gone.pop(item_id, None)
                key = id_hash(item_id), item_id
                department, category = item.product.department, item.product.category
                self._everything.add(key)
                self._departments.setdefault(department, Shelf()).add(key)
                self._categories[department].setdefault(category, Shelf()).add(key)
        self.version += 1

    def remove(self, item_id: str) -> None:
        """Forget an item."""
        before = self._known.pop(item_id, None)
        if before is not None:
            self._clear(before)
            self._searched = None
        self.version += 1

    def gone(self) -> list[str]:
        """Ids of the items that left the shelves last: withdrawn or removed, and not put back since."""
        return list(self._gone)

    def has_left(self, item_id: str) -> bool:
        """Tell whether an item was on the shelves and left them; an item that was never known has not."""
        item = self._known.get(item_id)
        return item_id in self._gone if item is None else not item.available

    def _clear(self, item: Stocked) -> None:
        if not item.available:
            return
        product = item.product
        self._gone[product.item_id] = None
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        key = id_hash(product.item_id), product.item_id
        categories = self._categories[product.department]
        self._everything.remove(key)
        _take(self._departments, product.department, key)
        _take(categories, product.category, key)
        if not categories:
            del self._categories[product.department]

    def get(self, item_id: str) -> Product | None:
        """Return the item, even if it is not available; None if the catalog does not have it."""
        item = self._known.get(item_id)
        return None if item is None else item.product

    def sells(self, item_id: str) -> bool:
        """Tell whether the item is available, so that it can be clicked and purchased."""
        item = self._known.get(item_id)
        return item is not None and item.available

    def page(self, offset: int, limit: int, department: str = "", category: str = "", words: str = "") -> Page:
        """Products of a department, or of one of its categories, from ``offset`` on; empty means any.

        ``words`` selects the products that hold all of them. Products in which every word begins a word come first.
        """
        wanted = dict.fromkeys(_letters(words).split())
        if not wanted:
            keys = self._shelf(department, category).keys_in_order()
            return self._shown(keys[offset : offset + limit], len(keys))
        everything = self._everything.keys_in_order()
        matches = self._search(department, category, wanted)
        return self._shown([everything[index] for index in matches[offset : offset + limit].tolist()], len(matches))

    def _shown(self, keys: list[ItemKey], total: int) -> Page:
        return Page(products=[self._known[item_id].product for _, item_id in keys], total=total)

    def _shelf(self, department: str, category: str) -> Shelf:
        if not department:
            return self._everything
        if not category:
            return self._departments.get(department, Shelf())
        return self._categories.get(department, {}).get(category, Shelf())

    def _search(self, department: str, category: str, wanted: Iterable[bytes]) -> Indices:
        """Find the available items that hold these words, as indices into all of them."""
        if self._searched is None:
            keys = self._everything.keys_in_order()
            self._searched = (
                Haystack([self._known[item_id].words for _, item_id in keys]),
                _hashes(keys),
            )
        haystack, hashes = self._searched
        held = np.arange(len(hashes))
        if department:
            held = np.searchsorted(hashes, _hashes(self._shelf(department, category).keys_in_order()))
        begun = held
        for word in wanted:
            holding, beginning = haystack.find(word)
            held = np.intersect1d(held, holding, assume_unique=True)
            begun = np.intersect1d(begun, beginning, assume_unique=True)
        return np.concatenate([begun, np.setdiff1d(held, begun, assume_unique=True)])

    def offered(self) -> Offered:
        """The departments and categories that can be chosen, ordered by name."""
        if self._offered is None or self._offered[0] != self.version:
            self._offered = self.version, self._offer()
        return self._offered[1]

    def _offer(self) -> Offered:
        departments = []
        for name in _fullest(self._departments):
            categories = self._categories[name]
            chosen = _fullest(categories)
            departments.append(
                Department(
                    name=name,
                    count=len(self._departments[name]),
                    categories=[Category(name=category, count=len(categories[category])) for category in chosen],
                    others=len(categories) - len(chosen),
                )
            )
        return Offered(departments=departments, others=len(self._departments) - len(departments))


def _hashes(keys: list[ItemKey]) -> NDArray[np.uint64]:
    return np.fromiter((number for number, _ in keys), np.uint64, len(keys))


def _shelf_of(item: Stocked) -> tuple[str, str] | None:
    return (item.product.department, item.product.category) if item.available else None


def _take(shelves: dict[str, Shelf], name: str, key: ItemKey) -> None:
    shelf = shelves[name]
    shelf.remove(key)
    if not shelf:
        del shelves[name]


def _fullest(shelves: Mapping[str, Shelf]) -> list[str]:
    """Names of the fullest shelves, ordered by name."""
    # counts are compared by their number of bits, so that the choice does not change with every item
    names = sorted(shelves, key=lambda name: (-len(shelves[name]).bit_length(), name))
    return sorted(names[:_MOST_NAMES])
