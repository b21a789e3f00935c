"""The interface for features: optional work beside a worker's core, each feature in a folder of its own.

A feature takes arrays and returns the records that it wants written: only ``emit`` produces, only ``checkpoint`` saves.
The core imports this folder and no feature; features never import each other. May import ``rank``, ``state``,
``decode`` and ``monitoring``.
"""
