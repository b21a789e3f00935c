"""What the `encoders` topic says: which encoder versions there are, and which one is to serve."""

from collections.abc import Iterable

import msgspec
import structlog
from confluent_kafka import Message

from schemas.codec import decode
from schemas.encoder_state import EncoderState
from schemas.errors import DecodeError

log = structlog.get_logger(__name__)


class Activations:
    """The versions by name. Fed by a tail's thread or a command; read by others."""

    def __init__(self) -> None:
        self.states: dict[str, EncoderState] = {}

    def see(self, messages: Iterable[Message]) -> None:
        """Take in records of the topic; one that can't be read is left out."""
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
            # a tail that broke off reads again from the beginning: what was is not to come back
            if known is None or (state.active_since_ms or 0) >= (known.active_since_ms or 0):
                states[version] = state
        self.states = states  # at once: readers see one state of things

    @property
    def activated(self) -> list[EncoderState]:
        """Versions that are or were active, the active one first."""
        known = [state for state in self.states.values() if state.active_since_ms is not None]
        return sorted(known, key=lambda state: (state.active_since_ms or 0, state.version), reverse=True)

    @property
    def active(self) -> EncoderState | None:
        """The version that is to serve; None if nobody ever named one."""
        return next(iter(self.activated), None)

    def activate(self, state: EncoderState, now_ms: int) -> EncoderState:
        """``state`` as the active one: later than every other, whatever this machine's clock says."""
        latest = max((one.active_since_ms or 0 for one in self.states.values()), default=0)
        return msgspec.structs.replace(state, active_since_ms=max(now_ms, latest + 1))
