"""Online quality: how often users do next what their list named. A feature behind one door.

May import ``rank``, ``state``, ``decode`` and ``monitoring``.
"""
