"""From the catalog topic to item vectors to the index.

May import ``decode``, ``emit``, ``kafka``, ``monitoring``, ``schemas`` and ``encoders``.
"""
