"""Stage 5, from top-k to bytes to Kafka.

Rows and types come in as arrays, so nothing of ``state`` or ``rank`` is imported. May import ``decode``, ``kafka``,
``schemas`` and ``encoders``.
"""
