"""Where profiles, terms and trending counts are kept: ``base`` is the contract, the other modules fulfil it.

``cassandra.py`` alone imports the Cassandra driver; nothing here imports ``schemas``, ``encoders`` or Faust.
"""
