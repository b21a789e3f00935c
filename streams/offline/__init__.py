"""Recorded data: event files and logs, evaluation and its baselines.

May import ``rank``, ``state``, ``decode``, ``schemas`` and ``encoders``.
"""
