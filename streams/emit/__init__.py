"""Stage 5, from top-k to bytes to Kafka.

Index rows and event types come in as arrays, so nothing of ``state`` or ``rank`` is imported. May import ``decode``,
``kafka``, ``schemas`` and ``encoders``.
"""
