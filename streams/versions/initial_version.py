"""Chooses the encoder version that a worker starts with."""

import structlog

from encoders.artifact.manifest import Encoder
from encoders.errors import EncoderError
from streams.versions.encoder_catalogue import EncoderCatalogue

log = structlog.get_logger(__name__)


async def choose(catalogue: EncoderCatalogue, patience_s: float) -> Encoder:
    """Choose the version that was activated last, among those that are filled and have a sound folder here.

    A version is filled once the catalog as of its activation is encoded. Other workers may have swapped to the chosen
    version already, and a worker that starts must not lead users back to an older one.

    If no such version is filled, the choice is the version that was activated last and has a sound folder here. The
    registry's first encoder comes before it if it was never activated and has encoded part of the catalog. Without any
    activated version that has a sound folder here, the choice is the registry's first encoder.
    """
    activated = catalogue.activations.activated
    sound: list[Encoder] = []
    for state in activated:
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
        any(first.folder == encoder.folder for encoder in sound)
        or not await catalogue.progress.covers(first.manifest.version, [], patience_s)
    ):
        return sound[0]
    return first
