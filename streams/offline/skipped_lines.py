"""Counts the lines of a log that are no events, by reason."""

from dataclasses import dataclass, field

_MOST_REASONS = 1_000  # reasons may quote the lines, so a broken file could give a new reason with each line
_SHOWN = 5


@dataclass(slots=True)
class SkippedLines:
    """The lines of a log that are no events."""

    count: int = 0
    _reasons: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By reason: how many lines, and the number of the first of them."""

    def add(self, number: int, reason: str) -> None:
        """Count the line with this number."""
        self.count += 1
        times, first = self._reasons.get(reason, (0, number))
        if times or len(self._reasons) < _MOST_REASONS:
            self._reasons[reason] = times + 1, first

    def __str__(self) -> str:
        """Tell how many lines were skipped, and the most frequent reasons.

        >>> skipped = SkippedLines()
        >>> skipped.add(3, "`item_id` is empty")
        >>> str(skipped)
        '1 line skipped: 1 x `item_id` is empty (first: line 3)'
        """
        frequent = sorted(self._reasons.items(), key=lambda item: (-item[1][0], item[1][1]))[:_SHOWN]
        told = [f"{times:,} x {reason} (first: line {first:,})" for reason, (times, first) in frequent]
        other = self.count - sum(times for _, (times, _) in frequent)
        if other:
            told.append(f"{other:,} x another reason")
        lines = "1 line" if self.count == 1 else f"{self.count:,} lines"
        return f"{lines} skipped: {'; '.join(told)}"
