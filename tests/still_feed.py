"""The feed of an index that nobody fills."""


class StillFeed:
    """Stands where no catalog is read: nothing comes, nothing is behind."""

    index_lag = 0
    waiting = 0

    def __init__(self) -> None:
        self.lags: dict[int, int] = {}

    def apply(self) -> set[int]:
        return set()

    def close(self) -> None: ...
