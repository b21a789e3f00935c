"""Item vectors in memory, and the search for an item vector's nearest neighbours.

May import ``encoders.compiled`` and ``encoders.errors``.
"""
