"""The encoder folder on disk: its manifest, the inputs of its graphs, and the registry of versions.

May import ``schemas``, ``encoders.errors`` and ``encoders.onnx_builder``.
"""
