"""Which encoder version serves: activations, the swap while users are served, item vectors, embedding maps.

May import ``rank``, ``catalog``, ``emit``, ``state``, ``kafka``, ``monitoring`` and ``encoders``; not ``pipeline``.
"""
