"""The messages on prefstream's topics: msgspec Structs, their codec, and the documents generated from them.

The documents are JSON Schema and AsyncAPI. Never imports ``encoders``, ``streams`` or ``deploy``.
"""
