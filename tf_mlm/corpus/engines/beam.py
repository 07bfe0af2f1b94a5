"""Apache Beam: a `DoFn` that does units, with the model loaded once a worker; for Dataflow, Flink and Spark.

Beam's own options say where it runs. Without any it runs here, in processes of this machine.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_mlm.corpus.engines.local import ONE_CORE
from tf_mlm.corpus.plan import Job
from tf_mlm.corpus.run_unit import Done, run_unit
from tf_mlm.errors import ConfigError

COUNTED = ("rows", "failed", "tokens")
HERE = "--runner=FnApiRunner --direct_running_mode=multi_processing --direct_num_workers={workers}"


def run(job: Job, units: Sequence[int], workers: int, *, options: str = "") -> Iterator[Done]:
    """Does units, and says what became of those that failed once the pipeline has ended.

    Args:
        job: what there is to do; workers must see its files and its output.
        units: the numbers of those to do.
        workers: processes on this machine; Beam's `options` say how many elsewhere.
        options: of Beam, as on its command lines.

    Raises:
        ConfigError: without the package, or if the pipeline failed.
    """
    check()
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

    settings = PipelineOptions(shlex.split(options or HERE.format(workers=workers)))
    settings.view_as(SetupOptions).save_main_session = False
    with tempfile.TemporaryDirectory() as directory:
        told = Path(directory, "done")
        here = not options  # only then do workers share this disk
        pipeline = beam.Pipeline(options=settings)
        done = (
            pipeline
            | "units" >> beam.Create(list(units))
            | "spread" >> beam.Reshuffle()
            | "do" >> beam.ParDo(_unit_doer(job))
        )
        if here:
            _ = done | "tell" >> beam.io.WriteToText(str(told), shard_name_template="-SSSSS")
        try:
            result = pipeline.run()
            result.wait_until_finish()
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"The pipeline must run to its end. Received from Beam: {said}. What was finished is kept; "
                "the same command goes on from there."
            ) from error
        if not here:
            yield _totals(result)
        for path in sorted(Path(directory).glob("done*")):
            for line in path.read_text().splitlines():
                yield Done(*json.loads(line))


def _totals(result: Any) -> Done:
    """What all workers counted together."""
    found = result.metrics().query()["counters"]
    counts = {counter.key.metric.name: int(counter.result or 0) for counter in found}
    rows, failed, tokens = (counts.get(name, 0) for name in COUNTED)
    return Done(-1, rows, failed, tokens)


def check() -> None:
    """What can be known before there are units.

    Raises:
        ConfigError: without the package.
    """
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--runner beam needs Apache Beam. Received: {error}. Install it in an environment of its "
            "own, as it needs protobuf below 7: pip install -c constraints-beam.txt 'tf-mlm[beam]'."
        ) from error


def _unit_doer(job: Job) -> Any:
    import apache_beam as beam

    class DoUnit(beam.DoFn):
        """`run_unit`, which keeps the model of its process."""

        def setup(self) -> None:
            """Before TensorFlow is there, which reads it once."""
            os.environ.update(ONE_CORE)

        def process(self, element: int) -> Iterator[str]:
            """Does a unit; what became of it, as JSON."""
            done = run_unit(job, element)
            for name in COUNTED:
                beam.metrics.Metrics.counter("tf_mlm", name).inc(getattr(done, name))
            yield json.dumps(done)

    return DoUnit()
