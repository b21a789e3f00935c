"""What operators see: metrics, the health server, logs.

May import ``settings``, ``arrays``, ``retry`` and ``errors`` alone.
"""
