"""The encoder folder on disk: its manifest, what its graphs take, and the registry of the versions at hand.

May import ``schemas``, ``encoders.errors`` and ``encoders.onnx_builder``.
"""
