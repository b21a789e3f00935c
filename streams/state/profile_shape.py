"""Sizes of one profile."""

from dataclasses import dataclass

VISITED = 8
"""Recommended items that the user went to, remembered: a purchase of one of them is a conversion."""


@dataclass(frozen=True)
class ProfileShape:
    """Sizes of one profile: what a user costs in memory."""

    history: int = 20
    """Events kept one by one (L)."""
    dimension: int = 64
    """Length of an item vector (d)."""
    half_lives: int = 2
    """Decayed sums (T)."""
    duplicate_window: int = 64
    """Event ids remembered (D): a repeat within the user's last D events is recognised."""
    purchases: int = 32
    """Purchases remembered (M)."""
    pending: int = 64
    """Events that wait for their item's vector (P)."""
    recommended: int = 20
    """Items remembered of the last recommendation (k)."""

    @property
    def bytes_per_user(self) -> int:
        """Memory of a slot in bytes, with the user's id and its place in the table (about 250)."""
        recents = self.history * (8 + 8 + 8 + 8 + 1)
        vectors = self.half_lives * (self.dimension + 1) * (8 + 4) + 8 + 3 * self.dimension * 4
        quality = (self.recommended + VISITED) * (8 + 1) + 8 + 2 + 1
        return recents + vectors + self.duplicate_window * 8 + self.purchases * 16 + quality + 400
