"""A Prometheus histogram that counts a whole array of values in one call."""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class BatchHistogram(Collector):
    """A histogram of one series, whose label values are fixed.

    Parameters
    ----------
    name, text : name and help text of the metric
    buckets : upper bounds, ascending; +Inf is added
    labels : label names and their values
    registry : where the histogram registers itself
    """

    def __init__(
        self, *, name: str, text: str, buckets: Sequence[float], labels: dict[str, str], registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._bounds = np.array([*buckets, np.inf])
        self._counts = np.zeros(len(self._bounds), np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()  # `observe` and `collect` are called in different threads
        registry.register(self)

    def observe(self, values: ArrayLike) -> None:
        """Count values of any shape. NaN counts only in the last bucket, as in prometheus_client's own histogram."""
        array = np.asarray(values, np.float64).ravel()
        counts = np.bincount(np.searchsorted(self._bounds[:-1], array), minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(array.sum())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the metric as it is now; the registry calls this at each scrape."""
        family = HistogramMetricFamily(self._name, self._text, labels=list(self._labels))
        with self._lock:
            cumulated, total = self._counts.cumsum().tolist(), self._sum
        names = [*map(str, self._bounds[:-1].tolist()), "+Inf"]
        buckets = list(zip(names, cumulated, strict=True))
        family.add_metric(list(self._labels.values()), buckets, total)
        yield family
