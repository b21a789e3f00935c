"""From a user's vectors to scored and explained top-k items.

May import ``encoders.artifact``, ``encoders.index`` and what lies in ``encoders`` itself.
"""
