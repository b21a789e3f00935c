"""Training: from sequences of events to an encoder folder, in JAX.

Needs the extra ``train``; may import ``encoders`` and ``schemas``. Nothing that a worker runs imports it.
"""
