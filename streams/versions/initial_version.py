"""Which encoder version a worker starts with."""

import structlog

from encoders.artifact.manifest import Encoder
from encoders.artifact.registry import EncoderRegistry
from encoders.errors import EncoderError
from streams.catalog.catalog_progress import CatalogProgress
from streams.versions.activations import Activations

log = structlog.get_logger(__name__)


async def choose(shelf: EncoderRegistry, versions: Activations, fills: CatalogProgress) -> Encoder:
    """The version activated last of those that are filled and have a sound folder here.

    Other workers may have taken it over already, and a worker that is started must not lead users back. Where none is
    filled: the active one, or else any whose folder is here. Where the topic names none: the first of the shelf.
    """
    known = versions.activated
    sound: list[Encoder] = []
    for state in known:
        try:
            encoder = shelf.take(state.version)
        except EncoderError as error:
            log.warning("an encoder version can't be used here", version=state.version, problem=str(error))
            continue
        if await fills.covers(state.version, state.catalog_ends):
            return encoder
        sound.append(encoder)
    first = shelf.first
    if sound and (
        any(first.folder == one.folder for one in sound) or not await fills.covers(first.manifest.version, [])
    ):
        return sound[0]
    return first
