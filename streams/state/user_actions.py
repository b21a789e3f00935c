"""The actions that a user's profile keeps: refunds, hidden items, brands and categories, and consents.

Of two actions on one thing the later by time holds, in whatever order they are read.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from schemas.actions import Action, Consent, Hide, Refund
from schemas.fields import MAX_INT64

_MOST_HIDDEN: Final = 256
"""Items, and brands and categories together, that a user can hide; the latest are kept."""
_MOST_PURPOSES: Final = 32
_BY_THING: Final = ("refunds", "hidden_items", "hidden_labels", "consents")


class UserActions(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The actions of a user, as they are stored. Each entry begins with its time and Kafka's time (UTC ms)."""

    time_ms: int = 0
    """Time of the latest action."""
    refunds: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)
    """Hash of a refunded item -> times of its latest refund."""
    hidden_items: dict[int, tuple[int, int, int]] = msgspec.field(default_factory=dict)
    """Hash of a hidden item -> times, and until when it is hidden (UTC ms)."""
    hidden_labels: dict[int, tuple[int, int, int]] = msgspec.field(default_factory=dict)
    """The same by the hash of a hidden brand or category, as `schemas.actions.thing_of` names it."""
    consents: dict[str, tuple[int, int, bool]] = msgspec.field(default_factory=dict)
    """Purpose -> times, and whether the consent is given."""
    pending: list[tuple[int, int, int, int]] = msgspec.field(default_factory=list)
    """Refunds and removals from the cart that wait for their item's vector: entries of `PendingEvent`."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept but the time."""
        return not any(getattr(self, name) for name in (*_BY_THING, "pending"))

    def note(self, action: Action, thing: int, written_ms: int, most_refunds: int) -> None:
        """Take an action in.

        Parameters
        ----------
        thing : hash of the thing that it is about, as `schemas.actions.thing_of` names it
        written_ms : Kafka's time of the record, UTC ms; `MAX_INT64` if it has none
        most_refunds : number of refunds to keep
        """
        at = action.event_time_ms, written_ms
        self.time_ms = max(self.time_ms, action.event_time_ms)
        if isinstance(action, Refund):
            _keep_latest(self.refunds, thing, at, most_refunds)
        elif isinstance(action, Hide):
            until = MAX_INT64 if action.until_ms is None else action.until_ms
            hidden = self.hidden_labels if action.item_id is None else self.hidden_items
            _keep_latest(hidden, thing, (*at, until), _MOST_HIDDEN)
        elif isinstance(action, Consent):
            _keep_latest(self.consents, action.purpose, (*at, action.given), _MOST_PURPOSES)

    def copy(self, pending: Iterable[tuple[int, int, int, int]]) -> "UserActions":
        """Return a copy to store, with these pending entries."""
        return UserActions(
            time_ms=self.time_ms,
            refunds=dict(self.refunds),
            hidden_items=dict(self.hidden_items),
            hidden_labels=dict(self.hidden_labels),
            consents=dict(self.consents),
            pending=[(*event,) for event in pending],
        )

    def forget(self, until_ms: int) -> None:
        """Remove what was written up to ``until_ms`` (Kafka's time, UTC ms), or at an unknown time."""
        for name in _BY_THING:
            entries = getattr(self, name)
            kept = {key: entry for key, entry in entries.items() if until_ms < entry[1] < MAX_INT64}
            setattr(self, name, kept)
        self.pending = []


def _keep_latest(entries: dict[Any, Any], key: Any, entry: tuple[Any, ...], most: int) -> None:
    """Note the later of two entries of a key, and drop the earliest key if there are more than ``most``."""
    entries[key] = max(entries.get(key, entry), entry)
    if len(entries) > most:
        del entries[min(entries, key=lambda known: (entries[known], known))]
