"""Tells what occurs again and again once an hour, with a sample and the count since the last line."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import structlog

log = structlog.get_logger(__name__)

_EVERY_S = 3_600.0
_MOST_KINDS = 1_000
"""Kinds that are told apart; senders may choose the names of fields, so there must be a limit."""


@dataclass
class _Kind:
    told: float
    untold: int = 0


class HourlyLog:
    """Logs a sentence at most once an hour for each kind."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` returns seconds, such as `time.monotonic`."""
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}

    def warn(self, sentence: str, kind: Hashable, **sample: Any) -> None:
        """Log the sentence with a sample, unless the kind was told within the last hour; then only count it."""
        now = self._clock()
        known = self._kinds.get((sentence, kind))
        if known is None and len(self._kinds) >= _MOST_KINDS:
            return
        if known is not None and now < known.told + _EVERY_S:
            known.untold += 1
            return
        not_told = {"since_the_last_line": known.untold} if known is not None and known.untold else {}
        self._kinds[sentence, kind] = _Kind(now)
        log.warning(sentence, **sample, **not_told)
