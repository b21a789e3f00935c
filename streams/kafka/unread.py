"""Counts the records that a consumer has not read yet."""

from collections.abc import Mapping

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

_TIMEOUT_S = 2.0


def unread(consumer: Consumer, reached: Mapping[int, int]) -> dict[int, int]:
    """Return for each assigned partition the number of records that are not read; left out if its end is not known.

    Records of open transactions do not count: they can't be read yet.

    Parameters
    ----------
    consumer : reads one topic, committed records only
    reached : the next offset to read, by partition
    """
    counts: dict[int, int] = {}
    starts: dict[int, int] = {}
    behind = []
    for part in consumer.assignment():
        low, high = consumer.get_watermark_offsets(part, cached=True)  # as of the last fetch: no request
        if high < 0:
            continue
        number = int(part.partition)
        starts[number] = max(reached.get(number, 0), low)
        counts[number] = max(0, high - starts[number])
        if counts[number]:
            behind.append(TopicPartition(part.topic, number, OFFSET_END))
    if behind:  # or there is an open transaction: the cached end lies beyond it, and the broker's answer does not
        try:
            for part in consumer.offsets_for_times(behind, timeout=_TIMEOUT_S):
                if part.error is None and part.offset >= 0:
                    counts[part.partition] = max(0, part.offset - starts[part.partition])
        except KafkaException:
            pass  # the broker is away: the cached ends are the best that is known
    return counts
