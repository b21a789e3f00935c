"""From settings to the outside systems: which store, which encoder, which broker."""

import structlog

from encoders.artifact.manifest import Encoder
from streams.settings import Settings, SettingsError
from streams.state.profile_shape import ProfileShape

log = structlog.get_logger(__name__)


def profile_shape(settings: Settings, encoder: Encoder) -> ProfileShape:
    """Sizes of a profile, from the settings and the encoder."""
    return ProfileShape(
        history=settings.profiles.history,
        dimension=encoder.manifest.dimension,
        half_lives=len(encoder.manifest.half_lives_s),
        duplicate_window=settings.profiles.duplicate_window,
        purchases=settings.profiles.purchases,
        pending=settings.profiles.pending,
        recommended=settings.ranking.k,
    )


def table_capacity(settings: Settings, shape: ProfileShape) -> int:
    """Users that fit into the memory budget; at least four full batches, so that one always fits in."""
    budget = settings.profiles.memory_mb * 1_000_000 // shape.bytes_per_user
    least = 4 * settings.kafka.max_batch_records
    if budget < least:
        needed = least * shape.bytes_per_user // 1_000_000 + 1
        raise SettingsError(
            f"profiles.memory_mb is {settings.profiles.memory_mb}, which holds {budget} users of "
            f"{shape.bytes_per_user} bytes: expected at least {needed} for batches of "
            f"{settings.kafka.max_batch_records} (kafka.max_batch_records)."
        )
    return budget
