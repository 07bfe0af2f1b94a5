"""Counters and histograms under TF-Serving's names, and the page Prometheus reads.

TF-Serving's page departs from what client libraries write: counters carry no `_total`, there is no
HELP, label-less series end in `{}`, a metric's TYPE line stands even before its first sample. The
text is therefore written here, in a few lines, instead of bending a library to it.
"""

from __future__ import annotations

import bisect
import itertools
import re
import threading
from collections.abc import Sequence


def exponential_limits(start: float, growth: float, count: int) -> tuple[float, ...]:
    """`count` bucket limits, each `growth` times the one before."""
    return tuple(start * growth**power for power in range(count))


LATENCY_LIMITS = exponential_limits(10, 1.8, 33)
EXAMPLE_LIMITS = exponential_limits(1, 2, 15)
# Clients choose some label values (a model's name, say); they may not fill the memory with series.
MAX_SERIES = 10_000
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def _number(value: float) -> str:
    return f"{value:g}"


class Metric:
    """One named series per combination of label values; those beyond `MAX_SERIES` are not kept."""

    kind = ""

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self._labels = tuple(re.sub(r"[^a-zA-Z0-9]", "_", label) for label in labels)
        self._lock = threading.Lock()

    @property
    def page_name(self) -> str:
        return re.sub(r"[^a-zA-Z0-9_]", ":", self.name)

    def _pairs(self, values: Sequence[str]) -> str:
        # TF-Serving leaves line ends as they are; one in a model's name would make the page unreadable.
        escaped = (value.translate(_ESCAPED) for value in values)
        return ",".join(f'{label}="{value}"' for label, value in zip(self._labels, escaped, strict=True))

    def first_value(self) -> int:
        """The first series' value, 0 without one (what a config reload reports)."""
        return 0

    def lines(self) -> list[str]:
        return [f"# TYPE {self.page_name} {self.kind}"]


class Counter(Metric):
    """A count per label values.

    Example:
        >>> from tf_mlm.serving.metrics import Counter
        >>> counter = Counter("/tensorflow/serving/request_count", ["model_name", "status"])
        >>> counter.add("mlm", "OK")
        >>> counter.lines()[-1]
        ':tensorflow:serving:request_count{model_name="mlm",status="OK"} 1'
    """

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, labels)
        self._values: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str, by: int = 1) -> None:
        with self._lock:
            if labels in self._values or len(self._values) < MAX_SERIES:
                self._values[labels] = self._values.get(labels, 0) + by

    def first_value(self) -> int:
        return next(iter(self._values.values()), 0)

    def lines(self) -> list[str]:
        with self._lock:
            values = sorted(self._values.items())
        return [*super().lines(), *(f"{self.page_name}{{{self._pairs(k)}}} {v}" for k, v in values)]


class Gauge(Counter):
    """A value that may go down. Nothing of the stock configuration sets one."""

    kind = "gauge"


class Histogram(Metric):
    """Counts of observations at or below limits, per label values."""

    kind = "histogram"

    def __init__(
        self, name: str, labels: Sequence[str] = (), limits: Sequence[float] = LATENCY_LIMITS
    ) -> None:
        super().__init__(name, labels)
        self._limits = tuple(limits)
        self._series: dict[tuple[str, ...], list[float]] = {}  # counts by bucket, then the sum

    def observe(self, value: float, *labels: str) -> None:
        bucket = bisect.bisect_right(self._limits, value)
        with self._lock:
            series = self._series.get(labels)
            if series is None:
                if len(self._series) >= MAX_SERIES:
                    return
                series = self._series[labels] = [0] * (len(self._limits) + 2)
            series[bucket] += 1
            series[-1] += value

    def lines(self) -> list[str]:
        with self._lock:
            snapshot = sorted((labels, list(series)) for labels, series in self._series.items())
        lines = super().lines()
        for labels, (*counts, total) in snapshot:
            pairs = self._pairs(labels)
            prefix = f"{pairs}," if pairs else ""
            names = [*map(_number, self._limits), "+Inf"]
            for limit, count in zip(names, itertools.accumulate(counts), strict=True):
                lines.append(f'{self.page_name}_bucket{{{prefix}le="{limit}"}} {int(count)}')
            lines.append(f"{self.page_name}_sum{{{pairs}}} {_number(total)}")
            lines.append(f"{self.page_name}_count{{{pairs}}} {int(sum(counts))}")
        return lines


class Metrics:
    """All metrics of one server. Latencies are in microseconds."""

    def __init__(self) -> None:
        serving, batching = "/tensorflow/serving/", "/tensorflow/serving/batching_session/"
        self.request_count = Counter(serving + "request_count", ["model_name", "status"])
        self.request_latency = Histogram(serving + "request_latency", ["model_name", "API", "entrypoint"])
        self.runtime_latency = Histogram(serving + "runtime_latency", ["model_name", "API", "runtime"])
        self.example_counts = Histogram(serving + "request_example_counts", ["model"], EXAMPLE_LIMITS)
        self.example_count_total = Counter(serving + "request_example_count_total", ["model"])
        self.warmup_latency = Histogram(serving + "model_warmup_latency", ["model_path", "status"])
        self.warmup_records_read = Counter(serving + "model_warmup_records_read", ["model_path", "status"])
        self.request_log_count = Counter(serving + "request_log_count", ["model_name", "status_code"])
        self.mlmd_map = Gauge(serving + "mlmd_map", ["model_name", "version"])
        self.queuing_latency = Histogram(batching + "queuing_latency", ["thread_pool_name"])
        self.wrapped_run_count = Counter(batching + "wrapped_run_count")
        self.padding_size = Histogram(batching + "padding_size", ["execution_batch_size"], EXAMPLE_LIMITS)
        self.input_batch_size = Histogram(batching + "input_batch_size", [], EXAMPLE_LIMITS)
        self.processed_batch_size = Histogram(batching + "processed_batch_size", [], EXAMPLE_LIMITS)
        load = "/tensorflow/cc/saved_model/"
        self.load_attempt_count = Counter(load + "load_attempt_count", ["model_path", "status"])
        self.load_latency = Counter(load + "load_latency", ["model_path"])
        self.graph_runs = Counter("/tensorflow/core/graph_runs")
        self.graph_run_time_usecs = Counter("/tensorflow/core/graph_run_time_usecs")

    def all(self) -> dict[str, Metric]:
        found = [value for value in vars(self).values() if isinstance(value, Metric)]
        return {metric.name: metric for metric in sorted(found, key=lambda metric: metric.name)}

    def page(self) -> str:
        """The Prometheus text page."""
        return "\n".join(line for metric in self.all().values() for line in metric.lines()) + "\n"
