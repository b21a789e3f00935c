"""The commands of ``prefstream``, a group a file. They may import everything of ``streams`` and ``deploy.local``, but only
inside a command: `prefstream --help` answers at once because these modules import nothing heavy.
"""
