"""What is counted, and that no client makes the counting grow without end."""

from __future__ import annotations

from tf_mlm.serving.metrics import MAX_SERIES, Counter, Histogram


def test_clients_cannot_make_series_without_end() -> None:
    counter, histogram = Counter("c", ["model"]), Histogram("h", ["model"], [1.0])
    for number in range(MAX_SERIES + 5):
        counter.add(str(number))
        histogram.observe(0.5, str(number))
    counter.add("0")
    assert len(counter.lines()) == MAX_SERIES + 1
    assert 'c{model="0"} 2' in counter.lines()
    assert sum("_count" in line for line in histogram.lines()) == MAX_SERIES
