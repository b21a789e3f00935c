"""The catalog as the page shows it: what is on the shelves, by category, and found by its words."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from schemas.catalog import CatalogItem
from schemas.ids import id_hash
from streams.texts import safe

NO_CATEGORY = "Everything else"
_MOST_NAMES = 12
"""Departments, and categories of one, that are offered to choose from: the fullest."""


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


def product_of(item: CatalogItem) -> Product:
    """The part of a catalog item that is shown."""
    path = [name for name in map(safe, item.category) if name] or [NO_CATEGORY]
    return Product(
        item_id=item.item_id,
        title=safe(item.title).strip() or item.item_id,
        department=path[0],
        category=path[-1],
        brand=safe(item.brand),
        price=item.price,
        currency=item.currency,
    )


class Shelves:
    """All items by id; those that are available also in one order, mixed but always the same, for browsing."""

    def __init__(self) -> None:
        self._known: dict[str, Product] = {}
        self._order: list[tuple[int, str]] = []
        self._on_shelf: set[str] = set()
        self.version = 0
        """Grows with every change."""
        self._counted: tuple[int, list[Department]] = (-1, [])  # the version that was counted, and the counts

    def __len__(self) -> int:
        return len(self._order)

    def put(self, product: Product, available: bool) -> None:
        """Add or replace an item; one that is not available keeps its name, but is on no shelf."""
        self._known[product.item_id] = product
        self._place(product.item_id, available)
        self.version += 1

    def remove(self, item_id: str) -> None:
        """Forget an item."""
        self._known.pop(item_id, None)
        self._place(item_id, False)
        self.version += 1

    def _place(self, item_id: str, on_shelf: bool) -> None:
        if on_shelf == (item_id in self._on_shelf):
            return
        # by hash: neighbours of the catalog, often of one category, are spread over the shop
        place = id_hash(item_id), item_id
        if on_shelf:
            self._on_shelf.add(item_id)
            insort(self._order, place)
        else:
            self._on_shelf.discard(item_id)
            del self._order[bisect_left(self._order, place)]

    def get(self, item_id: str) -> Product | None:
        """The item, also one that is not available; None for one that the catalog never had."""
        return self._known.get(item_id)

    def sells(self, item_id: str) -> bool:
        """Whether the item is there to be clicked and bought."""
        return item_id in self._on_shelf

    def page(self, offset: int, limit: int, department: str = "", category: str = "", words: str = "") -> Page:
        """Products of a department or category (empty: any) that hold all the words, from ``offset`` on."""
        wanted = words.casefold().split()
        found: list[Product] = []
        total = 0
        for product in self._products():
            if (department and product.department != department) or (category and product.category != category):
                continue
            if wanted and not _holds(product, wanted):
                continue
            total += 1
            if offset < total <= offset + limit:
                found.append(product)
        return Page(products=found, total=total)

    def _products(self) -> Iterable[Product]:
        return (self._known[item_id] for _, item_id in self._order)

    def departments(self) -> list[Department]:
        """The fullest departments and their fullest categories, each by name."""
        if self._counted[0] != self.version:
            self._counted = self.version, self._count()
        return self._counted[1]

    def _count(self) -> list[Department]:
        counts = Counter((product.department, product.category) for product in self._products())
        totals: Counter[str] = Counter()
        for (department, _), count in counts.items():
            totals[department] += count
        return [
            Department(name=name, count=count, categories=_categories(counts, name))
            for name, count in sorted(totals.most_common(_MOST_NAMES))
        ]


def _categories(counts: Counter[tuple[str, str]], department: str) -> list[Category]:
    of_it = Counter({category: count for (name, category), count in counts.items() if name == department})
    return [Category(name=name, count=count) for name, count in sorted(of_it.most_common(_MOST_NAMES))]


def _holds(product: Product, words: list[str]) -> bool:
    text = f"{product.title} {product.brand} {product.category} {product.department}".casefold()
    return all(word in text for word in words)
