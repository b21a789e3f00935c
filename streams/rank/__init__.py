"""Stage 4, from users to their top-k: the loaded encoder, its inputs, the candidate search, exclusions, popular items.

May import ``state``, ``monitoring`` and ``encoders``.
"""
