"""Python's garbage collector, set for a worker: records and events come by the thousand and go by reference counts."""

import gc

_NEW_OBJECTS = 10_000
"""Objects that came and did not go, after which the collector looks at the young ones. By default 700: it looked
through each fetch's records several times, for up to half of what reading them costs. More would make a look longer."""
_YOUNG_LOOKS = 20
_OLD_LOOKS = 100


def collect_rarely() -> None:
    """Leave out of every later look what is here now, and look seldom; call when the long-lived objects are there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_LOOKS, _OLD_LOOKS)
