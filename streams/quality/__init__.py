"""Measures online quality: how often users' next events are on items of their lists. A feature (`streams.features`).

May import ``features``, ``rank``, ``state``, ``decode`` and ``monitoring``.
"""
