"""Item vectors in memory, and the search for an item vector's nearest neighbours.

May import ``schemas`` and what lies in ``encoders`` itself.
"""
