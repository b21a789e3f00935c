"""The catalog as the page shows it: what is on the shelves, by category, and found by its words.

Made for some 100,000 items: a page of a category is a slice, and what is searched is one text.
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
from streams.console.haystack import Haystack, Places
from streams.display_text import safe

NO_CATEGORY = "Everything else"
_MOST_NAMES = 12
"""Departments, and categories of one, that are offered to choose from: of the fullest."""

Place = tuple[int, str]
"""Hash of an item's id, and the id: by hash, neighbours of the catalog, often alike, are spread over the shop."""


class Product(Struct, frozen=True, kw_only=True, gc=False):
    """What a card says of an item."""

    item_id: str
    title: str
    department: str
    category: str
    """The narrowest of its category path; the department where the path has one name only."""
    brand: str
    price: float | None
    currency: str | None


class Page(Struct, frozen=True, kw_only=True):
    """Some of the products that were asked for."""

    products: list[Product]
    total: int
    """How many there are in all."""


class Category(Struct, frozen=True, kw_only=True):
    """A category of a department."""

    name: str
    count: int


class Department(Struct, frozen=True, kw_only=True):
    """The first name of category paths, and the categories below it."""

    name: str
    count: int
    categories: list[Category]
    others: int
    """Categories of it that are not offered."""


class Offered(Struct, frozen=True, kw_only=True):
    """The departments to choose from."""

    departments: list[Department]
    others: int
    """Departments that are not offered."""


class Stocked(Struct, frozen=True, gc=False):
    """A product, and the words by which it is found."""

    product: Product
    words: bytes
    """In small letters, each after a space; UTF-8."""
    available: bool


def stocked(item: CatalogItem) -> Stocked:
    """The part of a catalog item that is shown or looked for."""
    path = [name for name in map(safe, item.category) if name] or [NO_CATEGORY]
    product = Product(
        item_id=item.item_id,
        title=safe(item.title).strip() or item.item_id,
        # thousands of items have these in common: each is kept once
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
    """Places in order; put in order when somebody looks, as items come in thousands."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._in_order = True

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: Place) -> None:
        """Add a place that is not there."""
        self._places.append(place)
        self._in_order = False

    def remove(self, place: Place) -> None:
        """Take away a place that is there."""
        places = self.places()
        del places[bisect_left(places, place)]

    def places(self) -> list[Place]:
        """All of them, in order."""
        if not self._in_order:
            self._places.sort()
            self._in_order = True
        return self._places


class Shelves:
    """All items by id; those that are available also on shelves, in an order that is mixed but always the same."""

    def __init__(self) -> None:
        self._known: dict[str, Stocked] = {}
        self._everything = Shelf()
        self._departments: dict[str, Shelf] = {}
        self._categories: defaultdict[str, dict[str, Shelf]] = defaultdict(dict)  # of each department
        # of everything: its words, and the hashes of its items; None: they are not what they were
        self._searched: tuple[Haystack, NDArray[np.uint64]] | None = None
        self.version = 0
        """Grows with every change."""
        self._offered: tuple[int, Offered] | None = None  # and the version that it was worked out for

    def __len__(self) -> int:
        return len(self._everything)

    def put(self, item: Stocked) -> None:
        """Add or replace an item; one that is not available keeps its name, but is on no shelf."""
        item_id = item.product.item_id
        before = self._known.get(item_id)
        self._known[item_id] = item
        if before is None or (before.words, before.available) != (item.words, item.available):
            self._searched = None
        if before is None or _shelf_of(before) != _shelf_of(item):
            if before is not None:
                self._clear(before)
            if item.available:
                place = id_hash(item_id), item_id
                department, category = item.product.department, item.product.category
                self._everything.add(place)
                self._departments.setdefault(department, Shelf()).add(place)
                self._categories[department].setdefault(category, Shelf()).add(place)
        self.version += 1

    def remove(self, item_id: str) -> None:
        """Forget an item."""
        before = self._known.pop(item_id, None)
        if before is not None:
            self._clear(before)
            self._searched = None
        self.version += 1

    def _clear(self, item: Stocked) -> None:
        if not item.available:
            return
        product = item.product
        place = id_hash(product.item_id), product.item_id
        categories = self._categories[product.department]
        self._everything.remove(place)
        _take(self._departments, product.department, place)
        _take(categories, product.category, place)
        if not categories:
            del self._categories[product.department]

    def get(self, item_id: str) -> Product | None:
        """The item, also one that is not available; None for one that the catalog never had."""
        found = self._known.get(item_id)
        return None if found is None else found.product

    def sells(self, item_id: str) -> bool:
        """Whether the item is there to be clicked and bought."""
        found = self._known.get(item_id)
        return found is not None and found.available

    def page(self, offset: int, limit: int, department: str = "", category: str = "", words: str = "") -> Page:
        """Products of a department, or of a category of it (empty: any), from ``offset`` on.

        ``words``: those that hold all of them, first the products in which each begins a word.
        """
        wanted = dict.fromkeys(_letters(words).split())
        if not wanted:
            places = self._shelf(department, category).places()
            return self._shown(places[offset : offset + limit], len(places))
        everything = self._everything.places()
        found = self._search(department, category, wanted)
        return self._shown([everything[number] for number in found[offset : offset + limit].tolist()], len(found))

    def _shown(self, places: list[Place], total: int) -> Page:
        return Page(products=[self._known[item_id].product for _, item_id in places], total=total)

    def _shelf(self, department: str, category: str) -> Shelf:
        if not department:
            return self._everything
        if not category:
            return self._departments.get(department, Shelf())
        return self._categories.get(department, {}).get(category, Shelf())

    def _search(self, department: str, category: str, wanted: Iterable[bytes]) -> Places:
        """Which places of everything hold these words."""
        if self._searched is None:
            places = self._everything.places()
            self._searched = (
                Haystack([self._known[item_id].words for _, item_id in places]),
                _hashes(places),
            )
        haystack, hashes = self._searched
        held = np.arange(len(hashes))
        if department:
            held = np.searchsorted(hashes, _hashes(self._shelf(department, category).places()))
        begun = held
        for word in wanted:
            holding, beginning = haystack.find(word)
            held = np.intersect1d(held, holding, assume_unique=True)
            begun = np.intersect1d(begun, beginning, assume_unique=True)
        return np.concatenate([begun, np.setdiff1d(held, begun, assume_unique=True)])

    def offered(self) -> Offered:
        """Departments and their categories to choose from, each by name."""
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
                    categories=[Category(name=one, count=len(categories[one])) for one in chosen],
                    others=len(categories) - len(chosen),
                )
            )
        return Offered(departments=departments, others=len(self._departments) - len(departments))


def _hashes(places: list[Place]) -> NDArray[np.uint64]:
    return np.fromiter((number for number, _ in places), np.uint64, len(places))


def _shelf_of(item: Stocked) -> tuple[str, str] | None:
    return (item.product.department, item.product.category) if item.available else None


def _take(shelves: dict[str, Shelf], name: str, place: Place) -> None:
    shelf = shelves[name]
    shelf.remove(place)
    if not shelf:
        del shelves[name]


def _fullest(shelves: Mapping[str, Shelf]) -> list[str]:
    """Names of the fullest shelves, by name. Of counts, only the magnitude matters: else what is offered, and with it
    the looks of the page, would change with every item that comes or goes."""
    names = sorted(shelves, key=lambda name: (-len(shelves[name]).bit_length(), name))
    return sorted(names[:_MOST_NAMES])
