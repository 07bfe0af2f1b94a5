"""Text files in, model directory out: the training run from top to bottom.

The output is a model directory with a `training/` folder beside the weights: checkpoints, packed
tokens, `log.jsonl`, `tensorboard/` and `curve.png`. The same command again resumes an unfinished
run, and on CPU its finished weights are bit for bit those of an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from tf_mlm.config import ModelConfig, TokenizerConfig
from tf_mlm.durable import discard
from tf_mlm.errors import ConfigError, TrainingStateError
from tf_mlm.errors import TrainingDivergedError as TrainingDivergedError
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.dataset import evaluation_batches, training_batches
from tf_mlm.training.data.files import find_files
from tf_mlm.training.data.token_store import TokenStore
from tf_mlm.training.evaluation import Evaluation, Evaluator
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import named_variables, parameters
from tf_mlm.training.run.agreement import (
    check_agreement,
    from_chief,
    run_options,
    shared_options,
    weights_digest,
)
from tf_mlm.training.run.budget import TimeBound, steps_within
from tf_mlm.training.run.checkpointing import Checkpoint, Checkpoints
from tf_mlm.training.run.divergence import check_metrics, diverged, is_finite
from tf_mlm.training.run.loop import TrainLoop
from tf_mlm.training.run.preemption import Preemption
from tf_mlm.training.run.report import Report
from tf_mlm.training.run.result import RUN, TrainResult, summary
from tf_mlm.training.run.resume import explain_change, remember_corpus
from tf_mlm.training.run.samples import SampleFills
from tf_mlm.training.run.start import (
    loaded_model,
    new_model,
    open_rows,
    start_from_frequencies,
    starting_vocabulary,
)
from tf_mlm.training.schedule import learning_rate_schedule
from tf_mlm.training.step import METRICS, TrainStep
from tf_mlm.training.strategy import check_batch_size, is_chief, make_strategy, worker_index

DEFAULT_STEPS = 10_000
CALL_SECONDS = 2.0
"""A preempted run answers within one call of the host loop, so calls are kept about this short."""


def train(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    config: TrainConfig | None = None,
    *,
    from_directory: str | os.PathLike[str] | None = None,
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
        vocabulary: of a new model; learnt from the training documents if not given.
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
    config = config or TrainConfig()
    paths, output = find_files(files), Path(output)
    if from_directory is not None and (vocabulary, model_config, tokenizer_config) != (None, None, None):
        raise ConfigError(
            "A model that is continued keeps its vocabulary, tokenizer and sizes. "
            f"Received: `{from_directory}` and settings of a new model. Leave them out, or leave out --from."
        )
    _check_output(output, from_directory)
    strategy = strategy or make_strategy(config.strategy, tpu=config.tpu)
    check_batch_size(strategy, config.batch_size, config.accumulation)
    worker, chief = worker_index(strategy), is_chief(strategy)
    run_directory = output / RUN
    with _naming_files(output):
        if chief:
            if fresh:
                discard(run_directory)
            run_directory.mkdir(parents=True, exist_ok=True)
        with strategy.scope():
            if from_directory is not None:
                model = loaded_model(from_directory, config)
            else:
                tokenizer = tokenizer_config or TokenizerConfig()
                words = starting_vocabulary(vocabulary, paths, run_directory, config, tokenizer, write=chief)
                model = new_model(config, words, model_config)
            total_steps = tf.Variable(config.steps or DEFAULT_STEPS, dtype=tf.int64, trainable=False)
            trained = parameters(model, train=config.train, layer_decay=config.layer_decay)
            optimizer = Optimizer(trained, learning_rate_schedule(config, total_steps), config)
            step = TrainStep.from_config(model, optimizer, config)
        tokens = run_directory / ("tokens" if worker is None else f"tokens-{worker}")
        store = open_rows(paths, tokens, model, config, console if chief else None)
        start = None
        if from_directory is None:
            start_from_frequencies(model, store.train)
        else:
            start = weights_digest(model)
        run = _Run(config, output, step, total_steps, store, strategy, start, compile=compile)
        return run(console if chief else None)


class _Run:
    """A model on its text, from the newest checkpoint to the end."""

    def __init__(
        self,
        config: TrainConfig,
        output: Path,
        step: TrainStep,
        total_steps: tf.Variable,
        store: TokenStore,
        strategy: tf.distribute.Strategy,
        start: str | None,
        *,
        compile: bool,
    ) -> None:
        assert step.model.preprocessor is not None
        self._config, self._output, self._store, self._strategy = config, output, store, strategy
        self._model, self._total_steps, self._start = step.model, total_steps, start
        self._words = step.model.preprocessor.vocabulary
        self._worker, self._chief = worker_index(strategy), is_chief(strategy)
        self._loop = TrainLoop(step, strategy, compile=compile)
        self._evaluator = Evaluator(step.model, strategy, compile=compile)
        state = step.optimizer.state()
        self._variables = {f"model/{name}": value for name, value in named_variables(step.model).items()}
        self._variables |= {f"optimizer/{name}": value for name, value in state.items()}
        # Some checkpoints forbid a token by a bias of minus infinity; that is no divergence.
        self._unbounded = {name for name, value in self._variables.items() if not is_finite(value)}

    def __call__(self, console: Console | None) -> TrainResult:
        config, directory = self._config, self._output / RUN
        checkpoints = Checkpoints(
            directory / "checkpoints",
            keep=config.keep_checkpoints,
            options={},
            explain=explain_change(directory, self._store, config),
        )
        steps = self._steps(checkpoints.newest())
        options = run_options(
            config, self._model.config, self._words, self._store, steps=steps, start=self._start
        )
        check_agreement(self._strategy, shared_options(config, options))
        checkpoints.options = options
        resumed = checkpoints.restore(self._variables)
        done = resumed.step if resumed else 0
        hint = "Put the output directory where all workers see it: the first one writes, all of them read."
        check_agreement(self._strategy, {"first_step": done}, hint=hint)
        if self._chief:
            remember_corpus(directory, self._store, config)
        report = Report(directory, first_step=done, steps=steps, console=console, write=self._chief)
        started = time.monotonic()
        with report:
            for damaged in checkpoints.skipped:
                report.warning(
                    f"{damaged}; " + ("going on from the one before it." if resumed else "starting anew.")
                )
            if resumed:
                report.message(f"Resuming at step {done} of {steps} from `{resumed.directory}`.")
            ended, last, evaluation = self._train(checkpoints, resumed, steps, report)
            if self._chief and ended != "stop":
                save(self._model, self._output)
        seconds = time.monotonic() - started
        speed = (last - done) * config.batch_size * config.length / max(seconds, 1e-9)
        result = TrainResult(self._output, last, ended, evaluation, seconds, speed)
        report.finish(summary(result, steps, config))
        return result

    def _steps(self, newest: Checkpoint | None) -> int:
        """How many steps the run has: as given, as planned before, or as measured now."""
        config = self._config
        if config.minutes is None:
            return int(self._total_steps.numpy())
        known = 0
        if newest is not None and newest.options.get("minutes") == config.minutes:
            known = int(newest.options["steps"])
        steps = int(from_chief(self._strategy, known))
        if not steps:
            steps = steps_within(config.minutes, self._loop, self._batches, self._variables, self._strategy)
        self._total_steps.assign(steps)
        return steps

    def _batches(self, first_step: int, last_step: int) -> Iterator[Any]:
        rows = training_batches(
            self._store.train, self._words, self._config, first_step=first_step, steps=last_step
        )
        return self._loop.distribute(rows)

    def _train(
        self, checkpoints: Checkpoints, resumed: Checkpoint | None, steps: int, report: Report
    ) -> tuple[str, int, Evaluation | None]:
        """What ended the run, the steps done, and the last evaluation."""
        config = self._config
        notes: Mapping[str, Any] = resumed.notes if resumed else {}
        done = resumed.step if resumed else 0
        evaluation = Evaluation(**notes["evaluation"]) if notes.get("evaluation") else None
        used, started = notes.get("seconds", 0.0), time.monotonic()
        bound = None if config.within_minutes is None else TimeBound(60 * config.within_minutes, used=used)
        before = notes.get("planned", steps)  # the learning rate goes on where it was
        planned = self._plan(bound, before if before > done else steps, done)
        assert self._model.preprocessor is not None
        samples = SampleFills(self._model, self._model.preprocessor, self._store.held_out)
        masks, count = 0.0, 1 if self._worker is None else config.steps_per_call
        stop, evaluating = False, 0.0
        with Preemption(self._strategy) as preemption:
            data = self._batches(done, steps)
            while done < planned and not stop and not self._reached(evaluation):
                begun = time.monotonic()
                most = _up_to_next(done, count, planned, config.evaluate_every, config.checkpoint_every)
                metrics = self._loop.run(data, most)
                seconds = time.monotonic() - begun
                check_metrics(metrics, done, checkpoints)
                done += len(metrics)
                masks += float(metrics[:, METRICS.index("masks")].sum())
                report.steps(done, metrics, len(metrics) * config.batch_size * config.length / seconds)
                if self._worker is None:  # several workers must all take the same number
                    count = max(1, min(config.steps_per_call, int(CALL_SECONDS * len(metrics) / seconds)))
                stop = preemption.requested()
                planned = self._plan(bound, steps, done, reserve=evaluating)
                evaluate = done == planned or done % config.evaluate_every == 0
                if evaluate or stop or done % config.checkpoint_every == 0:
                    # The metrics of a step say nothing of the weights it leaves behind.
                    self._check_weights(done, masks, checkpoints)
                    if evaluate:
                        begun = time.monotonic()
                        evaluation = self._evaluate(done, checkpoints)
                        report.evaluation(done, evaluation, samples() if self._chief else [])
                        evaluating = time.monotonic() - begun  # the last one takes as long
                    if self._chief:
                        saved = checkpoints.save(
                            self._variables,
                            step=done,
                            notes={
                                "evaluation": evaluation and dataclasses.asdict(evaluation),
                                "seconds": used + time.monotonic() - started,
                                "planned": planned,
                            },
                        )
                        if evaluate and evaluation is not None:
                            checkpoints.mark_best(saved, evaluation.loss)
        if self._reached(evaluation):
            return "target", done, evaluation
        ended = "steps" if done == steps else "time" if done >= planned else "stop"
        return ended, done, evaluation

    def _plan(self, bound: TimeBound | None, steps: int, done: int, reserve: float = 0.0) -> int:
        """The number of steps, as many as there is time for; the learning rate follows it."""
        if bound is None:
            return steps
        planned = int(from_chief(self._strategy, bound.steps(steps, done=done, reserve=reserve)))
        self._total_steps.assign(max(planned, 1))
        return planned

    def _reached(self, evaluation: Evaluation | None) -> bool:
        target = self._config.until_top_1
        return target is not None and evaluation is not None and evaluation.top_1 >= target

    def _evaluate(self, done: int, checkpoints: Checkpoints) -> Evaluation:
        evaluation = self._evaluator(evaluation_batches(self._store.held_out, self._words, self._config))
        if not math.isfinite(evaluation.loss):
            raise diverged(done, f"the held-out loss is {evaluation.loss}", checkpoints)
        return evaluation

    def _check_weights(self, done: int, masks: float, checkpoints: Checkpoints) -> None:
        """Before anything that is good is replaced by what is not."""
        for name, variable in self._variables.items():
            if not is_finite(variable, but_minus_infinity=name in self._unbounded):
                raise diverged(done, f"`{name}` holds values that are not finite", checkpoints)
        if not masks:
            raise ConfigError(
                f"Training needs tokens to predict. Received: none in the steps up to {done}: no token of "
                "the rows could be masked. Raise `mask_rate` or `length`, or leave out `whole_word`."
            )


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


def _check_output(output: Path, from_directory: str | os.PathLike[str] | None) -> None:
    if from_directory is not None and output.resolve() == Path(from_directory).resolve():
        raise ConfigError(
            "A model that is continued must not be overwritten: the run could not be resumed. "
            f"Received: `{output}` for both. Choose another output directory."
        )
    files = [name for name in ("config.json", "model.safetensors") if (output / name).exists()]
    if files and not (output / RUN).exists():
        raise ConfigError(
            "The output must not hold a model that no run here has written: it would be lost. "
            f"Received: `{output}`, which holds {files[0]}. To continue it, name it with --from and choose "
            "another output; else remove it."
        )


def _up_to_next(done: int, count: int, steps: int, *every: int) -> int:
    """At most `count` steps, stopping where an evaluation, a checkpoint or the end is due."""
    return min(count, steps - done, *(interval - done % interval for interval in every))
