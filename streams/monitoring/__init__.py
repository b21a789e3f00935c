"""Shows operators what a worker does: metrics, the health server and logs.

May import ``schemas`` and the modules that lie directly in ``streams`` (``settings``, ``errors`` and the like), and no
other folder.
"""
