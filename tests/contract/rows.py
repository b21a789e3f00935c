"""Profile rows for the contract tests."""

import os
from collections.abc import Iterable

from streams.stores.base import StoredProfile


def profile(user_id: str, version: int = 1, size: int = 100, expires_s: int = 0) -> StoredProfile:
    vectors = (os.urandom(16), os.urandom(16), os.urandom(16))
    return StoredProfile(user_id, 3, version, os.urandom(size), *vectors, f"encoder-{version}", expires_s)


def by_user(rows: Iterable[StoredProfile]) -> dict[str, StoredProfile]:
    return {row.user_id: row for row in rows}
