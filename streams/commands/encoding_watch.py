"""Waits until the workers have encoded catalog records that were just sent."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from streams.commands.reader import TopicReader

if TYPE_CHECKING:
    from streams.commands.broker import Broker
    from streams.kafka.topics import TopicNames

_LOOK_EVERY_S = 0.2
_INDEX_S = 0.5
"""Seconds that workers get to read the last vectors into their indexes, which no topic tells."""


class EncodingWatch:
    """Counts the item vectors that workers have written since it was made: one for each catalog record, or a null."""

    def __init__(self, broker: "Broker", names: "TopicNames") -> None:
        """Note where the topics of item vectors end now."""
        prefix = names.item_vectors("")
        self._readers = [TopicReader(broker, name) for name in sorted(broker.partitions) if name.startswith(prefix)]
        self._ends = [_end(reader) for reader in self._readers]

    def wait(self, items: int, patience_s: float, report: Callable[[int], None]) -> bool:
        """Wait until ``items`` records are encoded for one encoder version; False if no more come for ``patience_s``.

        False at once if no topic of item vectors exists. ``report`` is told from time to time how many are encoded.
        """
        if not self._readers:
            return False
        encoded, until = 0, time.monotonic() + patience_s
        while encoded < items:
            time.sleep(_LOOK_EVERY_S)
            before, encoded = encoded, self._encoded()
            report(min(encoded, items))
            if encoded > before:
                until = time.monotonic() + patience_s
            elif time.monotonic() > until:
                return False
        time.sleep(_INDEX_S)
        return True

    def close(self) -> None:
        """Close the connections."""
        for reader in self._readers:
            reader.close()

    def _encoded(self) -> int:
        written = (_end(reader) - end for reader, end in zip(self._readers, self._ends, strict=True))
        return max(written, default=0)


def _end(reader: TopicReader) -> int:
    return sum(high for _, high in reader.spans().values())
