"""Records of the catalog and of offers, as librdkafka hands them over."""

from types import SimpleNamespace
from typing import Any


def message(topic: str, key: bytes | None, value: bytes | None, offset: int = 3) -> Any:
    """A record without headers."""
    return SimpleNamespace(
        topic=lambda: topic,
        partition=lambda: 0,
        offset=lambda: offset,
        timestamp=lambda: (1, 1_760_000_000_000),
        key=lambda: key,
        value=lambda: value,
        headers=lambda: None,
        error=lambda: None,
    )
