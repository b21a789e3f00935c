"""The size of a record on `rerouted`, by which it is judged whether the record can be sent there."""

from typing import Any

from schemas.rerouted import own_headers

OVERHEAD_BYTES = 1_024
"""The most bytes that Kafka's batch and record formats and the headers of `Rerouted` add to a record."""
_HEADER_BYTES = 10
"""The most bytes that the lengths of a header's name and value take."""


def rerouted_bytes(record: Any, user_id: str) -> int:
    """Return the size of a record, uncompressed, once it is on `rerouted`.

    The size is the same each time the record is rerouted, so a record that was sent to `rerouted` once can always be
    sent there again.
    """
    headers = sum(len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in own_headers(record.headers))
    return len(user_id.encode()) + len(record.value or b"") + headers + OVERHEAD_BYTES
