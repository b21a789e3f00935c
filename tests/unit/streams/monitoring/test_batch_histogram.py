"""Against the client's own histogram: the same page for the same observations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams.monitoring.batch_histogram import BatchHistogram

BOUNDS = (0.1, 1.0, 2.5, 10.0)


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, str(sample.labels)): round(sample.value, 3)
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.11, 1.0, 2.5, 9.99, 10.0, 11.0, 1e6])), max_size=4))
def test_it_shows_what_the_clients_own_would(batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batched = BatchHistogram(name="waits", text="Waits.", buckets=BOUNDS, labels={"namespace": "n"}, registry=ours)
    single = Histogram("waits", "Waits.", ["namespace"], buckets=BOUNDS, registry=theirs).labels("n")
    for batch in batches:
        batched.observe(np.array(batch))
        for value in batch:
            single.observe(value)
    assert samples(ours) == samples(theirs)
