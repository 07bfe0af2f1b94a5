"""What a run tells its user: progress bar, log, TensorBoard scalars, fills and a summary."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from tf_mlm.durable import naming, write_durably
from tf_mlm.training.evaluation import Evaluation
from tf_mlm.training.operation_error import reason
from tf_mlm.training.run.curve import draw_curve
from tf_mlm.training.run.log import read_log
from tf_mlm.training.step import METRICS

LOG_SECONDS = 60
"""How often a run that prints to a file or a pipe says how far it is."""


class Report:
    """Everything a run prints and logs.

    On a terminal it shows a progress bar, elsewhere a line a minute.

    Args:
        directory: gets `log.jsonl`, `tensorboard/` and `curve.png`.
        first_step: where the run (re)starts; later entries of an earlier attempt are dropped.
        steps: where it ends.
        console: for progress and tables; None prints nothing.
        write: False on workers that are not the chief, which log nothing.
    """

    def __init__(
        self, directory: Path, *, first_step: int, steps: int, console: Console | None, write: bool = True
    ) -> None:
        self._log, self._picture = directory / "log.jsonl", directory / "curve.png"
        self._events = directory / "tensorboard"
        self._write = write
        self._console = console
        self._started = self._said = time.monotonic()
        self._first_step, self._steps = first_step, steps
        self._tensorboard = None
        if write:
            directory.mkdir(parents=True, exist_ok=True)
            self._drop_after(first_step)
            with self._naming_events():
                self._tensorboard = tf.summary.create_file_writer(str(self._events))
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Report:
        if self._console is not None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self._console,
                disable=not self._console.is_terminal,
            )
            self._progress.start()
            self._task = self._progress.add_task(
                "training", total=self._steps, completed=self._first_step, status="compiling"
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._tensorboard is not None:
            with self._naming_events():
                self._tensorboard.close()

    def steps(self, step: int, values: np.ndarray, pace: Mapping[str, float]) -> None:
        """The `METRICS` of the steps up to `step` since the last call, float32 [steps, metrics].

        `pace` is what else the log says of them: `batch_size`, `tokens_per_second`, and `mfu` where the
        devices' peak is known.
        """
        metrics = {name: float(np.mean(column)) for name, column in zip(METRICS, values.T, strict=True)}
        self._record("step", step, {**metrics, **pace})
        if self._console is None or self._progress is None or self._task is None:
            return
        status = [f"loss {metrics['loss']:.3f}", f"accuracy {metrics['accuracy']:.3f}"]
        status.append(f"{pace['tokens_per_second']:,.0f} tokens/s")
        status += [f"{pace['mfu']:.0%} of the peak"] if "mfu" in pace else []
        self._progress.update(self._task, completed=step, status="  ".join(status))
        if not self._console.is_terminal and time.monotonic() >= self._said + LOG_SECONDS:
            self._said = time.monotonic()
            self.message(f"step {step} of {self._steps}: {', '.join(status)}")

    def evaluation(self, step: int, evaluation: Evaluation, fills: Sequence[Mapping[str, Any]]) -> None:
        """An evaluation with sample fills: mappings with `text`, `hidden` and `guesses`."""
        self._record("evaluation", step, {**dataclasses.asdict(evaluation), "fills": list(fills)})
        if self._console is None:
            return
        self._console.print(
            f"step {step}: held-out loss {evaluation.loss:.3f}, perplexity {evaluation.perplexity:.1f}, "
            + (f"{evaluation.bits_per_byte:.3f} bits per byte, " if evaluation.bits_per_byte else "")
            + f"top-1 {evaluation.top_1:.3f}, top-5 {evaluation.top_5:.3f} (most frequent "
            f"{evaluation.most_frequent:.3f})"
        )
        for fill in fills:
            guesses = ", ".join(f"{guess['token']} {guess['score']:.2f}" for guess in fill["guesses"])
            self._console.print(f"  {fill['text']}  [{fill['hidden']}] → {guesses}", markup=False)

    def message(self, text: str) -> None:
        """One line for the user."""
        if self._console is not None:
            self._console.print(text, markup=False)

    def warning(self, text: str) -> None:
        """One line that the user must see, also without a console."""
        if self._console is not None:
            self.message(text)
        elif self._write:
            warnings.warn(text, stacklevel=3)

    def finish(self, summary: Mapping[str, str]) -> None:
        """The picture of the run, and its summary as a table."""
        if self._write:
            draw_curve(self._log, self._picture)
        if self._console is not None:
            table = Table(show_header=False, title="Training", title_justify="left")
            for name, value in summary.items():
                table.add_row(name, value)
            self._console.print(table)

    def _record(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        if not self._write:
            return
        seconds = round(time.monotonic() - self._started, 2)
        with naming(self._log), self._log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"event": event, "step": step, "seconds": seconds, **values}) + "\n")
        assert self._tensorboard is not None
        with self._naming_events(), self._tensorboard.as_default():
            for name, value in values.items():
                if isinstance(value, int | float):
                    write_scalar(f"{event}/{name}", value, step)

    @contextlib.contextmanager
    def _naming_events(self) -> Iterator[None]:
        """Turns TensorFlow's error of a file into Python's, which names it."""
        try:
            yield
        except tf.errors.OpError as error:
            raise OSError(error.error_code, reason(error), str(self._events)) from error

    def _drop_after(self, step: int) -> None:
        """Forgets what an attempt that was killed logged behind the checkpoint it left."""
        kept = [record for record in read_log(self._log) if record["step"] <= step]
        write_durably(self._log, "".join(json.dumps(record) + "\n" for record in kept).encode())


def write_scalar(name: str, value: float, step: int) -> None:
    """A scalar for TensorBoard, written without TensorBoard installed (`tf.summary.scalar` needs it)."""
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
    )
    metadata.data_class = 1  # DATA_CLASS_SCALAR
    tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=metadata)
