"""Text files in, model directory out: the training run from top to bottom.

The output is a model directory with a `training/` folder beside the weights: checkpoints, packed
tokens, `log.jsonl`, `tensorboard/` and `curve.png`. The same command again resumes an unfinished
run, and on CPU its finished weights are bit for bit those of an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console

from tf_mlm.config import ConfigError, ModelConfig, TokenizerConfig
from tf_mlm.model.checkpoint import save
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.agreement import check_agreement, run_options, shared_options
from tf_mlm.training.budget import steps_within
from tf_mlm.training.checkpointing import Checkpoints
from tf_mlm.training.corpus import find_files
from tf_mlm.training.dataset import evaluation_batches, training_batches
from tf_mlm.training.evaluation import Evaluation, Evaluator
from tf_mlm.training.loop import TrainLoop
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import named_variables, parameters
from tf_mlm.training.preemption import Preemption
from tf_mlm.training.report import Report
from tf_mlm.training.samples import SampleFills
from tf_mlm.training.schedule import learning_rate_schedule
from tf_mlm.training.start import (
    loaded_model,
    new_model,
    open_rows,
    start_from_frequencies,
    starting_vocabulary,
)
from tf_mlm.training.step import METRICS, TrainStep
from tf_mlm.training.strategy import check_batch_size, is_chief, make_strategy, worker_index

DEFAULT_STEPS = 10_000
CALL_SECONDS = 2.0
"""A preempted run answers within one call of the host loop, so calls are kept about this short."""


class TrainingDiverged(ArithmeticError):
    """The loss or the gradient became NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        directory: the model directory; complete if `finished`.
        steps: optimizer steps taken in total.
        finished: False if the run was told to stop; the same command continues it.
        evaluation: the last one, if there was one.
        seconds: of this process, from the first step on.
        tokens_per_second: global, of this process.
    """

    directory: Path
    steps: int
    finished: bool
    evaluation: Evaluation | None
    seconds: float
    tokens_per_second: float


def train(
    files: Sequence[str | os.PathLike[str]],
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
        files: paths or globs of text, gzip, JSON-lines or token-id TFRecord files.
        output: the model directory to write.
        config: all settings; the defaults suit a small model on a CPU.
        from_directory: a model directory to continue from, with or without a masked-LM head.
        vocabulary: of a new model; learnt from the training documents if not given.
        model_config: sizes of a new model, in place of the few that `config` names.
        tokenizer_config: normalisation and special tokens of a new vocabulary.
        strategy: where to run, in place of the one that `config` names.
        console: for progress and tables; None prints nothing.
        fresh: forget an earlier run in `output` instead of resuming it.
        compile: False runs without XLA.

    Raises:
        ConfigError: before the first step, for anything that cannot work.
        TrainingDiverged: with the step, the last good checkpoint and a hint.
        CheckpointError: if a checkpoint cannot be written; earlier ones remain.
    """
    config = config or TrainConfig()
    paths, output = find_files(files), Path(output)
    if from_directory is not None and (vocabulary, model_config, tokenizer_config) != (None, None, None):
        raise ConfigError(
            "A model that is continued keeps its vocabulary, tokenizer and sizes. "
            f"Received: `{from_directory}` and settings of a new model. Leave them out, or leave out --from."
        )
    strategy = strategy or make_strategy(config.strategy, tpu=config.tpu)
    check_batch_size(strategy, config.batch_size, config.accumulation)
    worker, chief = worker_index(strategy), is_chief(strategy)
    run_directory = output / "training"
    console = console if chief else None
    if fresh and chief:
        shutil.rmtree(run_directory, ignore_errors=True)

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
    assert model.preprocessor is not None
    words = model.preprocessor.vocabulary
    tokens = run_directory / ("tokens" if worker is None else f"tokens-{worker}")
    store = open_rows(paths, tokens, model, config, console)
    if from_directory is None:
        start_from_frequencies(model, store.train)
    loop = TrainLoop(step, strategy, compile=compile)
    variables = {f"model/{name}": variable for name, variable in named_variables(model).items()}
    variables |= {f"optimizer/{name}": variable for name, variable in optimizer.state().items()}

    def batches(first_step: int, last_step: int) -> Iterator[Any]:
        rows = training_batches(store.train, words, config, first_step=first_step, steps=last_step)
        return loop.distribute(rows)

    if config.minutes is not None:
        total_steps.assign(steps_within(config.minutes, run_directory, loop, batches, variables, write=chief))
    steps = int(total_steps.numpy())
    options = run_options(config, model.config, words, store, steps=steps)
    check_agreement(strategy, shared_options(config, options))
    checkpoints = Checkpoints(run_directory / "checkpoints", keep=config.keep_checkpoints, options=options)
    resumed = checkpoints.restore(variables)
    done = first_step = resumed.step if resumed else 0
    hint = "Put the output directory where all workers see it: the first one writes, all of them read."
    check_agreement(strategy, {"first_step": done}, hint=hint)
    evaluation = (
        Evaluation(**resumed.notes["evaluation"]) if resumed and resumed.notes["evaluation"] else None
    )

    evaluator = Evaluator(model, strategy, compile=compile)
    samples = SampleFills(model, model.preprocessor, store.held_out)
    report = Report(run_directory, first_step=done, steps=steps, console=console, write=chief)
    started, stop = time.monotonic(), False
    with report, Preemption(strategy) as preemption:
        for damaged in checkpoints.skipped:
            report.message(f"{damaged}; going on from the one before it.")
        if resumed:
            report.message(f"Resuming at step {done} of {steps} from `{resumed.directory}`.")
        data = batches(done, steps)
        count = 1 if worker is None else config.steps_per_call
        while done < steps and not stop:
            begun = time.monotonic()
            metrics = loop.run(
                data, _up_to_next(done, count, steps, config.evaluate_every, config.checkpoint_every)
            )
            seconds = time.monotonic() - begun
            _check_finite(metrics, done, checkpoints)
            done += len(metrics)
            report.steps(done, metrics, len(metrics) * config.batch_size * config.length / seconds)
            if worker is None:  # several workers must all take the same number
                count = max(1, min(config.steps_per_call, int(CALL_SECONDS * len(metrics) / seconds)))
            stop = preemption.requested()
            evaluate = done == steps or done % config.evaluate_every == 0
            if evaluate:
                held_out = evaluation_batches(store.held_out, words, config)
                evaluation = evaluator(held_out)
                report.evaluation(done, evaluation, samples() if chief else [])
            if chief and (evaluate or stop or done % config.checkpoint_every == 0):
                notes = {"evaluation": evaluation and dataclasses.asdict(evaluation)}
                saved = checkpoints.save(variables, step=done, notes=notes)
                if evaluate and evaluation is not None:
                    checkpoints.mark_best(saved, evaluation.loss)
        if chief and done == steps:
            save(model, output)

    seconds = time.monotonic() - started
    speed = (done - first_step) * config.batch_size * config.length / max(seconds, 1e-9)
    result = TrainResult(output, done, done == steps, evaluation, seconds, speed)
    report.finish(_summary(result, steps))
    return result


def _up_to_next(done: int, count: int, steps: int, *every: int) -> int:
    """At most `count` steps, stopping where an evaluation, a checkpoint or the end is due."""
    return min(count, steps - done, *(interval - done % interval for interval in every))


def _check_finite(metrics: np.ndarray, done: int, checkpoints: Checkpoints) -> None:
    bad = np.flatnonzero(~np.isfinite(metrics).all(axis=1))
    if not len(bad):
        return
    values = ", ".join(f"{name}={value:g}" for name, value in zip(METRICS, metrics[bad[0]], strict=True))
    good = checkpoints.newest()
    raise TrainingDiverged(
        f"Training diverged at step {done + int(bad[0]) + 1}: {values}. "
        + (f"The last good checkpoint is `{good.directory}`. " if good else "There is no checkpoint yet. ")
        + "Lower `learning_rate`, lengthen `warmup` or lower `clip_norm`, and start into another directory."
    )


def _summary(result: TrainResult, steps: int) -> dict[str, str]:
    evaluation = result.evaluation
    values = {
        "steps": f"{result.steps} of {steps}"
        + ("" if result.finished else " (stopped; the same command goes on)"),
        "time": f"{result.seconds:.0f} s",
        "speed": f"{result.tokens_per_second:,.0f} tokens/s",
    }
    if evaluation is not None:
        values |= {
            "held-out loss": f"{evaluation.loss:.3f} (perplexity {evaluation.perplexity:.1f})",
            "held-out top-1": f"{evaluation.top_1:.3f}, {evaluation.lift:.1f} times the most frequent token",
            "held-out top-5": f"{evaluation.top_5:.3f}",
        }
    values["model" if result.finished else "checkpoints"] = str(
        result.directory if result.finished else result.directory / "training" / "checkpoints"
    )
    return values
