"""The gate of an assignment: decides whether a micro-batch may be processed."""


class Gate:
    """Open for the batches of one assignment at a time; closed as soon as this assignment is handed over or lost."""

    def __init__(self) -> None:
        self._epoch: int | None = None

    def open(self, epoch: int) -> None:
        """Let in the batches of this assignment, and no others."""
        self._epoch = epoch

    def close(self) -> None:
        """Let in no more batches. A batch that is being processed is finished by its caller."""
        self._epoch = None

    def is_open(self, epoch: int) -> bool:
        """Return whether batches of this assignment may be processed."""
        return self._epoch == epoch
