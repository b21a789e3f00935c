"""The demo: an invented shop and its shoppers around a real worker, with the simulator as broker and SQLite as store.

It may import everything in ``streams``. In ``streams`` only the command line imports it.
"""
