"""Preference vectors of users who are not ranked at the moment, and the head's inputs of those who are."""

import numpy as np

from encoders.ranking.ranking_io import HeadInputs
from streams.arrays import IntpArray
from streams.rank.head_inputs import head_inputs
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.state.profile_table import ProfileTable

_USERS_AT_ONCE = 4_096
"""Users whose preference vectors are computed in one go: some 25 MB of recents' vectors."""


class PreferenceVectors:
    """Computes what the head makes of users in the table."""

    def __init__(self, table: ProfileTable, active: ActiveEncoder) -> None:
        self._table, self._active = table, active

    def head_inputs(self, encoder: LoadedEncoder, slots: IntpArray) -> HeadInputs:
        """The head's inputs of B users, sums of other versions included."""
        history = encoder.artifact.manifest.history
        return head_inputs(self._table, slots, encoder.index, history, encoder.sums.half_life_s)

    def note(self, slots: IntpArray) -> None:
        """Compute the vectors of users by the encoder that serves, and keep them in the table."""
        for start in range(0, len(slots), _USERS_AT_ONCE):
            chunk = slots[start : start + _USERS_AT_ONCE]
            encoder = self._active.encoder
            user, short_term, long_term = encoder.ranker.vectors(self.head_inputs(encoder, chunk))
            self._table.preferences[chunk] = np.stack([short_term, long_term, user], axis=1)
