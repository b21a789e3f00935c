"""Keeps the content of the `encoders` topic: which encoder versions there are, and which of them is active."""

from collections.abc import Iterable

import msgspec
import structlog
from confluent_kafka import Message

from schemas.codec import decode
from schemas.encoder_state import EncoderState
from schemas.errors import DecodeError

log = structlog.get_logger(__name__)


class Activations:
    """The states of encoder versions, by version. One thread (a reader's, or a command) updates them; others read."""

    def __init__(self) -> None:
        self.states: dict[str, EncoderState] = {}

    def see(self, messages: Iterable[Message]) -> None:
        """Take in records of the topic. A record that can't be read is skipped."""
        states = dict(self.states)
        for message in messages:
            version = (message.key() or b"").decode("utf-8", "replace")
            if message.value() is None:
                states.pop(version, None)
                continue
            try:
                state = decode(EncoderState, message.value())
            except DecodeError as error:
                log.warning("a record of the encoders topic can't be read", version=version, problem=error.detail)
                continue
            known = states.get(version)
            # after a failure the reader begins again at the first record: an older state must not replace a newer one
            if known is None or (state.active_since_ms or 0) >= (known.active_since_ms or 0):
                states[version] = state
        self.states = states  # replaced as a whole: other threads never see half an update

    @property
    def activated(self) -> list[EncoderState]:
        """Versions that are or were active; the last activated one, which is active, comes first."""
        known = [state for state in self.states.values() if state.active_since_ms is not None]
        return sorted(known, key=lambda state: (state.active_since_ms or 0, state.version), reverse=True)

    @property
    def active(self) -> EncoderState | None:
        """The active version; None if no version was ever activated."""
        return next(iter(self.activated), None)

    def activate(self, state: EncoderState, now_ms: int) -> EncoderState:
        """Return ``state`` as the active one: activated after all others, even if this machine's clock is behind."""
        latest = max((known.active_since_ms or 0 for known in self.states.values()), default=0)
        return msgspec.structs.replace(state, active_since_ms=max(now_ms, latest + 1))
