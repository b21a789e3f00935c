"""Ranking: from a user's vectors to the scored and explained top-k items.

May import ``encoders.artifact``, ``encoders.index`` and what lies in ``encoders`` itself.
"""
