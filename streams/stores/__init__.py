"""Stores for profiles, terms and trending counts: ``base`` is their contract, for which there are two stores.

Only ``cassandra.py`` imports the Cassandra driver. May import the modules that lie directly in ``streams``, and no
other folder: no ``schemas``, no ``encoders``.
"""
