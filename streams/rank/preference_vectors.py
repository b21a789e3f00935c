"""Preference vectors: computes them for users who are not ranked, and gives the head's inputs of users who are."""

import numpy as np

from encoders.ranking.ranking_io import HeadInputs
from streams.arrays import IntpArray
from streams.rank.head_inputs import head_inputs
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.state.profile_table import ProfileTable

_USERS_AT_ONCE = 4_096
"""Users whose preference vectors are computed at once: some 25 MB of recents' vectors."""


class PreferenceVectors:
    """Computes the preference vectors of users in the table, with the user head."""

    def __init__(self, table: ProfileTable, active: ActiveEncoder) -> None:
        self._table, self._active = table, active

    def head_inputs(self, encoder: LoadedEncoder, slots: IntpArray) -> HeadInputs:
        """Gather the head's inputs of B users, with the mapped sums of other versions; ``slots`` is (B,)."""
        history = encoder.artifact.manifest.history
        return head_inputs(self._table, slots, encoder.index, history, encoder.sums.half_life_s)

    def note(self, slots: IntpArray) -> None:
        """Compute the vectors of users (B,) with the active encoder, and write them to the table."""
        for start in range(0, len(slots), _USERS_AT_ONCE):
            chunk = slots[start : start + _USERS_AT_ONCE]
            encoder = self._active.encoder
            user, short_term, long_term = encoder.ranker.vectors(self.head_inputs(encoder, chunk))
            self._table.preferences[chunk] = np.stack([short_term, long_term, user], axis=1)
