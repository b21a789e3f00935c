"""Reads what `evaluate` and `quantise --data` need: the known items, and the recorded events to predict."""

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

from streams.commands.errors import CommandError
from streams.commands.output import note

if TYPE_CHECKING:
    from encoders.artifact.manifest import Encoder
    from schemas.catalog import CatalogItem
    from streams.offline.questions import Questions


def known_items(encoder: "Encoder", catalog: Path | None) -> tuple["dict[str, CatalogItem]", Container[str]]:
    """The items that the encoder was trained on and those of a catalog, by id; and the ids that it was trained on."""
    from encoders.items.lookup import read_rows
    from schemas.catalog import CatalogItem
    from streams.commands.catalog_files import read_catalog

    trained_on = {} if encoder.manifest.kind == "text" else read_rows(encoder)
    items = {item_id: CatalogItem(item_id=item_id, title="") for item_id in trained_on}
    return items | ({} if catalog is None else read_catalog(catalog)), trained_on


def read_questions(data: Path, limit: int, seed: int) -> "Questions":
    """Read the events to predict: all of a file except each user's first, or a random sample of ``limit`` of them."""
    from streams.offline.event_logs import questions, read_log

    log = read_log(data)
    if log.skipped.count:
        note(f"{data}: {log.skipped}")
    asked = questions(log.histories, limit, seed)
    if not len(asked.users):
        raise CommandError(f"'{data}' has no user with at least two events: there is nothing to predict.")
    note(f"{len(asked.users):,} predictions of {len(asked.log):,} users")
    return asked
