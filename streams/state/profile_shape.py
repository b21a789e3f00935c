"""Sizes of one profile."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProfileShape:
    """Sizes of one profile, which decide how much memory a user takes."""

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
    logs: int = 0
    """Logs that a user's own partition reads, each with an applied offset."""
