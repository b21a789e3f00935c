"""Encodes the catalog topic into item vectors, and brings item vectors into the index.

May import ``decode``, ``emit``, ``kafka``, ``monitoring``, ``schemas`` and ``encoders``.
"""
