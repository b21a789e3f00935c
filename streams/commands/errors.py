"""Which errors are an answer to the operator: one sentence and exit code 1. Any other is a bug and shows its trace."""

import sys

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

# by name, because importing these modules just to catch their errors would make every command slow to start
_KNOWN = {
    "streams.commands.errors": ("CommandError",),
    "streams.settings": ("SettingsError",),
    "streams.kafka.topics": ("TopicsError",),
    "streams.kafka.topic_ids": ("BrokerSilent",),
    "streams.kafka.clients": ("BrokerUnavailable",),
    "streams.offline.event_files": ("EventFileError",),
    "streams.stores.base": ("StoreError",),
    "streams.checkpoint.stored_profile": ("NewerState", "StateError"),
    "streams.emit.producer": ("DeliveryFailed",),
    "streams.pipeline.batch_pipeline": ("FenceBeyondLog",),
    "streams.worker.worker": ("ConsumerFailed", "WrongStore"),
    "streams.demo.run": ("DemoFailed",),
    "encoders.errors": ("EncoderError",),
    "deploy.local.errors": ("StackError",),
}


class CommandError(Exception):
    """A command can't do what was asked; the message says why and what to do about it."""


def known_errors() -> tuple[type[Exception], ...]:
    """The errors that are a sentence already, of the modules imported so far: no other can have been raised."""
    return tuple(
        getattr(sys.modules[module], name)
        for module, names in _KNOWN.items()
        if module in sys.modules
        for name in names
    )
