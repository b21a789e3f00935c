"""Stage 4, from users to their top-k: preference vectors, exclusions, the loaded encoder and the search.

May import ``state``, ``monitoring`` and ``encoders``.
"""
