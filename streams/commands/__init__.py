"""The commands of ``prefstream``, a group a file, and what they share: these may import all of ``streams`` and
``deploy.local``, but a command's file only inside its functions, so that `prefstream --help` answers at once.
"""
