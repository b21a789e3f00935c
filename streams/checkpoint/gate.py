"""Whether micro-batches may be processed."""


class Gate:
    """Open for the batches of one assignment at a time, closed from the moment that it is handed over or lost."""

    def __init__(self) -> None:
        self._epoch: int | None = None

    def open(self, epoch: int) -> None:
        """Let batches of this assignment in, and of no other."""
        self._epoch = epoch

    def close(self) -> None:
        """Let no batch in any more; the one in hand is finished by whoever has it."""
        self._epoch = None

    def is_open(self, epoch: int) -> bool:
        """Whether batches of this assignment may be processed."""
        return self._epoch == epoch
