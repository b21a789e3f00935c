"""Which encoder version a worker starts with."""

import structlog

from encoders.artifact.manifest import Encoder
from encoders.errors import EncoderError
from streams.versions.encoder_catalogue import EncoderCatalogue

log = structlog.get_logger(__name__)


async def choose(catalogue: EncoderCatalogue, patience_s: float) -> Encoder:
    """Choose the version that was activated last, of those that are filled and have a sound folder here.

    Other workers may have taken it over already, and a worker that starts must not lead users back. Where no version is
    filled, it is the active one, or else any version whose folder is here. Where the topic names no version, it is the
    first of the registry.
    """
    known = catalogue.activations.activated
    sound: list[Encoder] = []
    for state in known:
        try:
            encoder = catalogue.registry.take(state.version)
        except EncoderError as error:
            log.warning("an encoder version can't be used here", version=state.version, problem=str(error))
            continue
        if await catalogue.progress.covers(state.version, state.catalog_ends, patience_s):
            return encoder
        sound.append(encoder)
    first = catalogue.registry.first
    if sound and (
        any(first.folder == one.folder for one in sound)
        or not await catalogue.progress.covers(first.manifest.version, [], patience_s)
    ):
        return sound[0]
    return first
