"""The sizes of a profile."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProfileShape:
    """The sizes of a profile. They decide how much memory a user needs."""

    history: int = 20
    """Recents: the latest events, which are kept individually (L)."""
    dimension: int = 64
    """Length of an item vector (d)."""
    half_lives: int = 2
    """Half-lives, each with a decayed sum (T)."""
    duplicate_window: int = 64
    """Records remembered (D). A record that is repeated within the user's last D is recognised as a duplicate."""
    purchases: int = 64
    """Purchased items remembered (M)."""
    pending: int = 64
    """Most events that wait for their item's vector (P)."""
    recommended: int = 20
    """Items remembered of the last recommendation (k)."""
    logs: int = 0
    """Logs that a user's own partition reads. Each has a column of applied offsets."""
