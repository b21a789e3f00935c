"""Computes the sizes of a worker's state from the settings and the encoder."""

from collections.abc import Iterable

from encoders.artifact.manifest import Encoder
from streams.settings import Settings, SettingsError
from streams.state.profile_columns import ProfileColumn, bytes_per_user
from streams.state.profile_shape import ProfileShape


def profile_shape(settings: Settings, encoder: Encoder) -> ProfileShape:
    """Compute the sizes of a profile from the settings and the encoder."""
    return ProfileShape(
        history=settings.profiles.history,
        dimension=encoder.manifest.dimension,
        half_lives=len(encoder.manifest.half_lives_s),
        duplicate_window=settings.profiles.duplicate_window,
        purchases=settings.profiles.purchases,
        pending=settings.profiles.pending,
        recommended=settings.ranking.k,
    )


def table_capacity(settings: Settings, shape: ProfileShape, feature_columns: Iterable[ProfileColumn] = ()) -> int:
    """Compute the number of users that fit into the memory budget.

    `SettingsError` if it is below four full batches, so that a batch always fits in.
    """
    user_bytes = bytes_per_user(shape, feature_columns)
    budget = settings.profiles.memory_mb * 1_000_000 // user_bytes
    least = 4 * settings.kafka.max_batch_records
    if budget < least:
        needed = least * user_bytes // 1_000_000 + 1
        raise SettingsError(
            f"profiles.memory_mb is {settings.profiles.memory_mb}, which holds {budget} users of "
            f"{user_bytes} bytes: expected at least {needed} for batches of "
            f"{settings.kafka.max_batch_records} (kafka.max_batch_records)."
        )
    return budget
