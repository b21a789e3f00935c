"""What runs prefstream and the servers beside it: ``local`` (a stack of Maven jars), ``compose.yaml``, ``Dockerfile``.

It imports nothing of the other packages; the command line in ``streams`` calls ``local``.
"""
