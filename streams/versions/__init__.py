"""Chooses and changes the active encoder: activations, the hot swap, the item vector feed, embedding maps.

May import ``rank``, ``catalog``, ``emit``, ``state``, ``kafka``, ``monitoring`` and ``encoders``; not ``pipeline``.
"""
