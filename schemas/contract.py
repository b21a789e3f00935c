"""The contract between the workers of a group: what they write for one another, and must understand.

A worker of contract n understands all that workers of the contracts 0 to n write. The number grows when a worker of the
release before would make dead letters of something new, or drop it from a row.

==========  ===================================================================
contract    what is new in it
==========  ===================================================================
0           releases that do not tell their contract
1           a worker tells its contract in the store, as a part of its name
2           events are recognised by id, type and items; orders with ``items``;
            actions, which are an input more: the whole group restarts once
==========  ===================================================================
"""

from typing import NamedTuple

CONTRACT_VERSION = 2


class ContractChange(NamedTuple):
    """Something that workers of an older contract do not understand, so it is begun only when none of them is left."""

    contract: int
    """The first contract that knows it."""
    drain: str
    """For the operator who goes back to an older release: what it is, and what has to be drained first."""


def owner_name(worker: str, contract: int = CONTRACT_VERSION) -> str:
    """Return the name under which a worker owns partitions.

    >>> owner_name("5f1c", 1)
    '5f1c/1'
    """
    return f"{worker}/{contract}"


def contract_of(owner: str) -> int:
    """Return the contract of an owner of partitions; 0 if its release does not tell it.

    >>> contract_of("5f1c/1"), contract_of("5f1c")
    (1, 0)
    """
    _, _, contract = owner.rpartition("/")
    return int(contract) if "/" in owner and contract.isdecimal() else 0


IDENTITIES = ContractChange(
    2,
    "Events are recognised by their id, type and items; an older release knows the id alone. It would count an event "
    "again that is sent twice, before and after you go back, and it refuses orders with `items`: stop whatever sends "
    "events again and whatever sends orders, and let these workers read all inputs to the end. It also drops actions, "
    "such as hidden items, from the rows that it writes.",
)
"""Stored `seen_ids` are identities of events. Older releases compare them with hashes of the event ids."""
