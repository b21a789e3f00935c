"""Finds out why records came on another partition than their user's, and tells it once for each topic."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from schemas.errors import DecodeError
from schemas.record_keys import id_of_key
from streams.decode.partitioner import PARTITIONERS, partitions_of
from streams.settings import Partitioner

NO_KEY: Final = "no-key"
FORM_OF_KEY: Final = "form-of-key"
OTHER_KEY: Final = "other-key"
PARTITIONER: Final = "partitioner"
CAUSES: Final = (NO_KEY, FORM_OF_KEY, OTHER_KEY, PARTITIONER)
"""No key; the user's id in another form, such as in quotes; a key that is not the user's id; another hash function."""

_TOLD_FROM = 10
"""Misplaced records from which on a cause is told: a few are a mistake of somebody."""
_ALMOST_ALL = 0.9
"""Share of the records with the user's id as key that another hash function must explain. By chance it explains one in
as many as there are partitions."""


def cause_of(key: bytes | None, user_id: str) -> str:
    """Return the cause, one of `CAUSES`, why a record with this key came on another partition than its user's.

    >>> [cause_of(key, "ann") for key in (None, b'"ann"', b"order-7", b"ann")]
    ['no-key', 'form-of-key', 'other-key', 'partitioner']
    """
    if not key:
        return NO_KEY
    if key == user_id.encode():
        return PARTITIONER
    try:
        return FORM_OF_KEY if id_of_key(key, "user_id") == user_id else OTHER_KEY
    except DecodeError:
        return OTHER_KEY


class MisplacedRecords:
    """Collects evidence, by topic, of why records are misplaced."""

    def __init__(self, canonical: Partitioner, expected: Mapping[str, Partitioner]) -> None:
        """Make a collector without evidence.

        Parameters
        ----------
        canonical : the hash function that decides where a user belongs
        expected : full name of a topic -> the hash function that its producers are known to use
        """
        self._canonical, self._expected = canonical, expected
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._told: set[tuple[str, str]] = set()

    def note(self, topic: str, misplaced: Sequence[Any], partition_count: int) -> tuple[Counter[str], list[str]]:
        """Take misplaced records of a topic as evidence.

        Parameters
        ----------
        topic : full name of the topic
        misplaced : records with the user that each belongs to, as `streams.decode.decoder.Misplaced`
        partition_count : number of partitions of each input

        Returns
        -------
        the records by cause, and a sentence for each cause that is certain now and was not told yet
        """
        causes = [cause_of(entry.record.key, entry.user_id) for entry in misplaced]
        counted, known = Counter(causes), self._counts[topic]
        known.update(counted)
        hashed = [entry for entry, cause in zip(misplaced, causes, strict=True) if cause == PARTITIONER]
        if hashed:
            known.update(self._explained(hashed, partition_count))
        sentences = [self._sentence(topic, cause, known) for cause in CAUSES if known[cause] >= _TOLD_FROM]
        return counted, [sentence for sentence in sentences if sentence is not None]

    def is_expected(self, topic: str, cause: str) -> bool:
        """Return whether the settings say that the topic's producers use another hash function."""
        return cause == PARTITIONER and topic in self._expected

    def _explained(self, misplaced: Sequence[Any], partition_count: int) -> Iterable[str]:
        """Name each hash function as often as it explains a record's partition."""
        users = [entry.user_id for entry in misplaced]
        for partitioner in PARTITIONERS:
            places = partitions_of(users, partition_count, partitioner).tolist()
            for place, entry in zip(places, misplaced, strict=True):
                if place == entry.record.partition:
                    yield partitioner

    def _sentence(self, topic: str, cause: str, known: Counter[str]) -> str | None:
        used = None
        if cause == PARTITIONER:
            used = max(PARTITIONERS, key=lambda partitioner: known[partitioner])
            if known[used] < _ALMOST_ALL * known[PARTITIONER]:
                used = None
            if used is not None and used == self._expected.get(topic):
                return None
        if (topic, cause) in self._told:
            return None
        self._told.add((topic, cause))
        return _SENTENCES[cause] if cause != PARTITIONER else self._of_partitioner(topic, used)

    def _of_partitioner(self, topic: str, used: Partitioner | None) -> str:
        if used is None:
            return (
                "records have their user's id as key and lie on a partition that no known hash function gives: "
                f"set the producers' partitioner to the one that kafka.input_partitioner names, {self._canonical}"
            )
        return (
            f"producers hash keys by {used}, and kafka.input_partitioner is {self._canonical}: set the producers' "
            f"partitioner to {self._canonical}; or set kafka.input_partitioner to {used}, if all producers hash so; or "
            f'set `{topic.rpartition(".")[2]} = "{used}"` in the table kafka.partitioners, and live with the detour'
        )


_SENTENCES: Final = {
    NO_KEY: "records have no key, so they lie on any partition: the key must be the user's id",
    FORM_OF_KEY: "the key of records is the user's id in quotes, in an object or behind a schema id, which hashes to "
    "another partition: send the id as plain text (in Kafka Connect, StringConverter as key.converter)",
    OTHER_KEY: "the key of records is not their user's id: the key must be the value of `user_id`",
}
