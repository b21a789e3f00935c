"""Reads a catalog file into memory; lines that are no items are reported and skipped."""

from pathlib import Path

from schemas.catalog import CatalogItem
from schemas.errors import DecodeError
from streams.commands.output import note
from streams.offline.event_files import LineFile, read_items

_SHOWN_FAULTS = 10


def read_catalog(path: Path) -> dict[str, CatalogItem]:
    """Read the items of a file of JSON lines, by id; of several items with one id the last counts."""
    items = {}
    with LineFile(path) as lines:
        for number, item in read_items(lines):
            if isinstance(item, DecodeError):
                note(f"{path}:{number}: {item}")
            else:
                items[item.item_id] = item
        note_faults(lines)
    return items


def note_faults(lines: LineFile) -> None:
    """Tell which optional fields of the lines read so far are wrong, and so were left out or cut."""
    if lines.faults:
        told = ", ".join(f"{fault} ({count:,} lines)" for fault, count in lines.faults.most_common(_SHOWN_FAULTS))
        note(f"{lines.path}: optional fields that are wrong were left out or cut: {told}")
