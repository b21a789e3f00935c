"""A catalog file in memory; what is no item is said and left out."""

from pathlib import Path

from schemas.catalog import CatalogItem
from schemas.errors import DecodeError
from streams.commands.output import note
from streams.offline.event_files import LineFile, read_items


def read_catalog(path: Path) -> dict[str, CatalogItem]:
    """Items of a file of JSON lines by id; the last of an id counts."""
    found = {}
    with LineFile(path) as lines:
        for number, item in read_items(lines):
            if isinstance(item, DecodeError):
                note(f"{path}:{number}: {item}")
            else:
                found[item.item_id] = item
    return found
