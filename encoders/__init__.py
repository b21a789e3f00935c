"""Encoders: from catalog items to vectors, and from a user's history to ranked items, as ONNX graphs.

May import ``schemas``, numpy, onnx and xxhash; only ``runtime.py`` imports onnxruntime. Never imports ``streams``.
"""
