"""The commands of ``prefstream``, one group a file, and the modules that they share.

They may import all of ``streams`` and ``deploy.local``. The file of a command imports heavy modules only inside its
functions, so that `prefstream --help` answers at once.
"""
