"""Item encoding: from a catalog item to its vector, when serving.

May import ``schemas``, ``encoders.artifact`` and what lies in ``encoders`` itself.
"""
