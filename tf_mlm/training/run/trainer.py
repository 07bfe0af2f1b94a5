"""Text files in, model directory out: the training run from top to bottom.

The output is a model directory with a `training/` folder beside the weights: checkpoints, packed
tokens, `log.jsonl`, `tensorboard/` and `curve.png`. The same command again resumes an unfinished
run, and on CPU its finished weights are bit for bit those of an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from tf_mlm.config import ModelConfig, TokenizerConfig
from tf_mlm.errors import ConfigError, TrainingStateError
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.evaluation import Evaluation, Evaluator
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.agreement import check_agreement, from_chief, shared_options
from tf_mlm.training.run.budget import Pace, steps_within
from tf_mlm.training.run.checkpointing import CHECKPOINTS, Checkpoint, Checkpoints, assign
from tf_mlm.training.run.decay import check_same_run
from tf_mlm.training.run.divergence import FiniteWeights, check_metrics, diverged
from tf_mlm.training.run.loop import TrainLoop
from tf_mlm.training.run.open import OpenRun, Source, open_run
from tf_mlm.training.run.preemption import Preemption
from tf_mlm.training.run.report import Report
from tf_mlm.training.run.result import TrainResult, summary
from tf_mlm.training.run.resume import check_options, explain_change, remember_corpus, run_options
from tf_mlm.training.run.samples import SampleFills
from tf_mlm.training.run.speed import Speed
from tf_mlm.training.run.utilisation import rows_per_second_at_peak
from tf_mlm.training.step import METRICS


def train(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    config: TrainConfig | None = None,
    *,
    from_directory: str | os.PathLike[str] | None = None,
    decay_from: str | os.PathLike[str] | None = None,
    vocabulary: Vocabulary | str | os.PathLike[str] | None = None,
    model_config: ModelConfig | None = None,
    tokenizer_config: TokenizerConfig | None = None,
    strategy: tf.distribute.Strategy | None = None,
    console: Console | None = None,
    fresh: bool = False,
    compile: bool = True,
) -> TrainResult:
    """Trains a masked-language model on text, or resumes the run that `output` holds.

    Args:
        files: one or more paths or globs, of text, gzip, JSON lines or TFRecords of token ids.
        output: the model directory to write. `tf_mlm.load` reads it, and so does transformers.
        config: all settings; the defaults of `TrainConfig` suit a small model on a CPU.
        from_directory: a model directory to continue from, with or without a masked-LM head.
        decay_from: a checkpoint of another run with these files and settings, or the output directory of
            that run, whose newest is meant: weights and optimizer go on, and within `steps` more the learning
            rate of schedule wsd falls to 0.
        vocabulary: of a new model: itself, a `vocab.txt`, or a directory of tokenizer files as `tf-mlm vocab`
            and transformers write them; learnt from the training documents if not given.
        model_config: sizes of a new model, in place of the few that `config` names.
        tokenizer_config: normalisation and special tokens of a new vocabulary.
        strategy: where to run, in place of the one that `config` names.
        console: for progress and tables; None prints nothing.
        fresh: forget an earlier run in `output` instead of resuming it.
        compile: False runs without XLA.

    Returns:
        The directory, the steps taken, what ended the run and its last evaluation.

    Warns:
        UnknownTokensWarning: if the vocabulary has no name for much of the text.
        NewHeadWarning: if the model that is continued has no masked-LM head; a new one is trained.

    Raises:
        ConfigError: before the first step, for anything that cannot work.
        TrainingDivergedError: with the step, the last good checkpoint and a hint.
        TrainingStateError: if a file of the run cannot be written or read; earlier checkpoints remain.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tf_mlm.training.options import TrainConfig
        >>> from tf_mlm.training.run.trainer import train
        >>> folder = Path(tempfile.mkdtemp())
        >>> text = folder / "text.txt"
        >>> _ = text.write_text("\\n\\n".join(f"the cat sees {number} dogs ." for number in range(200)))
        >>> config = TrainConfig(
        ...     steps=2, batch_size=4, length=16, vocabulary_size=60, hidden_size=8, layers=1, heads=2
        ... )
        >>> result = train(text, folder / "model", config, compile=False)
        >>> result.ended, result.steps, result.evaluation.perplexity > 1
        ('steps', 2, True)
        >>> result = train(text, folder / "adapted", config, from_directory=folder / "model", compile=False)
        >>> sorted(path.name for path in result.directory.iterdir())
        ['config.json', 'model.safetensors', 'tokenizer_config.json', 'training', 'vocab.txt']
    """
    output, config = Path(output), config or TrainConfig()
    source = Source(from_directory, vocabulary, model_config, tokenizer_config)
    with _naming_files(output):
        run = open_run(
            *(files, output, config, source),
            decay_from=decay_from,
            strategy=strategy,
            fresh=fresh,
            console=console,
        )
        return Trainer(run, compile=compile)(console if run.chief else None)


class Trainer:
    """Takes an open run from its newest checkpoint to its end, once.

    Args:
        run: what `open_run` gave.
        compile: False runs without XLA.
    """

    def __init__(self, run: OpenRun, *, compile: bool) -> None:
        self._run, self._config = run, run.config
        self._loop = TrainLoop(run.step, run.strategy, compile=compile)
        self._evaluator = Evaluator(
            run.model, run.strategy, tokens_per_byte=run.store.tokens_per_byte, compile=compile
        )
        self._variables = run.variables()
        self._finite = FiniteWeights(self._variables)
        self._checkpoints = Checkpoints(
            run.directory / CHECKPOINTS, keep=run.config.keep_checkpoints, options={}
        )
        peak = rows_per_second_at_peak(run.model, run.store.train, run.config, run.strategy)
        self._speed = Speed(run.config, peak)
        self._done, self._masks, self._evaluation_seconds = 0, 0.0, 0.0
        self._evaluation: Evaluation | None = None

    def __call__(self, console: Console | None) -> TrainResult:
        run, config = self._run, self._config
        steps = self._steps(self._checkpoints.newest())
        resumed = self._restore(steps)
        first = self._done
        report = Report(run.directory, first_step=first, steps=steps, console=console, write=run.chief)
        started = time.monotonic()
        with report:
            for damaged in self._checkpoints.skipped:
                report.warning(
                    f"{damaged}; " + ("going on from the one before it." if resumed else "starting anew.")
                )
            if resumed:
                report.message(f"Resuming at step {first} of {steps} from `{resumed.directory}`.")
            ended = self._train(steps, report, resumed.notes if resumed else {})
            if run.chief and ended != "stop":
                save(run.model, run.output)
        seconds = time.monotonic() - started
        speed = self._speed(first=first, last=self._done, seconds=seconds)
        ending = (run.output, self._done, ended, self._evaluation, seconds)
        result = TrainResult(*ending, speed["tokens_per_second"], speed.get("mfu"))
        report.finish(summary(result, steps, config))
        return result

    def _steps(self, newest: Checkpoint | None) -> int:
        """How many steps the run has: as given, as planned before, or as measured now."""
        run, minutes = self._run, self._config.minutes
        if minutes is None:
            return int(run.total_steps.numpy())
        known = 0
        if newest is not None and newest.options.get("minutes") == minutes:
            known = int(newest.options["steps"])
        steps = int(from_chief(run.strategy, known))
        if not steps:
            steps = steps_within(minutes, self._loop, self._batches, self._variables, run.strategy)
        run.total_steps.assign(steps)
        return steps

    def _restore(self, steps: int) -> Checkpoint | None:
        """Goes back to the newest checkpoint, if it is one of a run with these options."""
        run, config = self._run, self._config
        options = run_options(
            config, run.model.config, run.vocabulary, run.store, steps=steps, start=run.start
        )
        options["packed"] = run.store.train.is_packed
        if run.decays_from is not None:
            options["decay_from"] = run.decays_from.digest
        check_agreement(run.strategy, shared_options(config, options))
        self._checkpoints.options = options
        explain = explain_change(run.directory, run.store, config)
        resumed = self._checkpoints.restore(
            self._variables, check=lambda found: check_options(found, options, explain)
        )
        if resumed is None and run.decays_from is not None:
            check_same_run(run.decays_from, json.loads(json.dumps(options)))
            assign(run.decays_from, self._variables)
            self._done = run.decays_from.step
        if resumed is not None:
            self._done = resumed.step
            if resumed.notes.get("evaluation"):
                self._evaluation = Evaluation(**resumed.notes["evaluation"])
        hint = "Put the output directory where all workers see it: the first one writes, all of them read."
        check_agreement(run.strategy, {"first_step": self._done}, hint=hint)
        if run.chief:
            remember_corpus(run.directory, run.store, config)
        return resumed

    def _batches(self, first_step: int, last_step: int) -> Iterator[Any]:
        batches = self._run.training_batches(first_step, last_step)
        return self._loop.distribute(batches, of_worker=self._run.store.train.parts[1] > 1)

    def _train(self, steps: int, report: Report, notes: Mapping[str, Any]) -> str:
        """Takes the steps that are left; what ended the run. `notes` are those of the checkpoint."""
        run, config = self._run, self._config
        used, started = notes.get("seconds", 0.0), time.monotonic()
        pace = Pace(config, run.strategy, run.total_steps, steps, used=used)
        pace.plan(self._done, before=notes.get("planned"))
        assert run.model.preprocessor is not None
        samples = SampleFills(run.model, run.model.preprocessor, run.store.held_out)
        stop = False
        with Preemption(run.strategy) as preemption:
            batches = self._batches(self._done, steps)
            while self._done < pace.end and not stop and not self._reached():
                self._take_steps(batches, pace, report)
                stop = preemption.requested()
                pace.plan(self._done, reserve=self._evaluation_seconds)
                evaluate = self._done == pace.end or self._done % config.evaluate_every == 0
                if evaluate or stop or self._done % config.checkpoint_every == 0:
                    self._check_weights()
                    if evaluate:
                        self._evaluate(report, samples)
                    if run.chief:
                        seconds = used + time.monotonic() - started
                        self._save({"seconds": seconds, "planned": pace.end}, evaluated=evaluate)
        if self._reached():
            return "target"
        return "steps" if self._done == steps else "time" if self._done >= pace.end else "stop"

    def _take_steps(self, batches: Iterator[Any], pace: Pace, report: Report) -> None:
        """One call of the host loop."""
        first, begun = self._done, time.monotonic()
        metrics = self._loop.run(batches, pace.next(first))
        seconds = time.monotonic() - begun
        check_metrics(metrics, first, self._checkpoints)
        self._done += len(metrics)
        self._masks += float(metrics[:, METRICS.index("masks")].sum())
        report.steps(self._done, metrics, self._speed(first=first, last=self._done, seconds=seconds))
        pace.took(len(metrics), seconds)

    def _check_weights(self) -> None:
        """Refuses weights that are no numbers: the metrics of a step say nothing of what it leaves behind."""
        self._finite.check(self._done, self._checkpoints)
        if not self._masks:
            raise ConfigError(
                f"Training needs tokens to predict. Received: none in the steps up to {self._done}: no token "
                "of the rows could be masked. Raise `mask_rate` or `length`, or leave out `whole_word`."
            )

    def _evaluate(self, report: Report, samples: SampleFills) -> None:
        begun = time.monotonic()
        evaluation = self._evaluator(self._run.evaluation_batches())
        if not math.isfinite(evaluation.loss):
            raise diverged(self._done, f"the held-out loss is {evaluation.loss}", self._checkpoints)
        self._evaluation = evaluation
        report.evaluation(self._done, evaluation, samples() if self._run.chief else [])
        self._evaluation_seconds = time.monotonic() - begun  # the last one takes as long

    def _save(self, notes: dict[str, Any], *, evaluated: bool) -> None:
        evaluation = self._evaluation
        notes = {"evaluation": evaluation and dataclasses.asdict(evaluation), **notes}
        saved = self._checkpoints.save(self._variables, step=self._done, notes=notes)
        if evaluated and evaluation is not None:
            self._checkpoints.mark_best(saved, evaluation.loss)

    def _reached(self) -> bool:
        target, evaluation = self._config.until_top_1, self._evaluation
        return target is not None and evaluation is not None and evaluation.top_1 >= target


@contextlib.contextmanager
def _naming_files(output: Path) -> Iterator[None]:
    """Turns what goes wrong with a file of the run into one line that names it."""
    try:
        yield
    except BrokenPipeError:  # somebody stopped to read the progress
        raise
    except OSError as error:
        file = error.filename or output
        raise TrainingStateError(
            f"The run in `{output}` cannot go on: `{file}`: {error.strerror or error}. Checkpoints that were "
            "written remain. Check the space on the disk and what you may do there, and run the same command "
            "again."
        ) from error
