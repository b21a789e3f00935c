"""The demo: a made-up shop and its shoppers around a real worker, with the simulator as broker and SQLite as store.

May import everything in ``streams``; nothing in ``streams`` but the command line imports it.
"""
