"""The messages on prefstream's topics: msgspec Structs, the codec that reads and writes them, and the documents
generated from them (JSON Schema, AsyncAPI). It imports nothing of ``encoders``, ``streams`` or ``deploy``.
"""
