"""The live page: what a person clicks goes to the event topics, what comes back on `recommendations` is shown.

It knows topics only: no store, no encoder, no worker. May import ``schemas`` and, of ``streams``, the Kafka clients,
settings, names and texts.
"""
