"""Online quality: how often users do next what their list named. The first feature (see `streams.features`).

May import ``features``, ``rank``, ``state``, ``decode`` and ``monitoring``.
"""
