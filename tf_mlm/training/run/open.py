"""Opens a training run: from the names of files to a model, the rows it reads, and the batches of each step.

One direction: files, documents, split, vocabulary, model, packed rows, batches.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from tf_mlm.config import ModelConfig, TokenizerConfig, to_json
from tf_mlm.durable import discard, read_checked, write_checked
from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece_training import train_vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.corpus_rows import open_rows
from tf_mlm.training.data.dataset import evaluation_batches, training_batches
from tf_mlm.training.data.token_store import TokenStore
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import named_variables, parameters
from tf_mlm.training.run.agreement import weights_digest
from tf_mlm.training.run.result import RUN
from tf_mlm.training.schedule import learning_rate_schedule
from tf_mlm.training.starting_model import loaded_model, new_model, start_from_frequencies
from tf_mlm.training.step import Batch, TrainStep
from tf_mlm.training.strategy import check_batch_size, is_chief, make_strategy, worker_index

DEFAULT_STEPS = 10_000
VOCABULARY = "vocabulary.json"


@dataclasses.dataclass(frozen=True)
class Source:
    """What the model of a run is made from: a directory to continue, or what a new one is to be.

    Attributes:
        directory: a model directory to continue; then there is nothing else.
        vocabulary: of a new model; learnt from the training documents if None.
        model_config: sizes of a new model, in place of the few that `TrainConfig` names.
        tokenizer_config: normalisation and special tokens of a new vocabulary.

    Raises:
        ConfigError: for both.
    """

    directory: str | os.PathLike[str] | None = None
    vocabulary: Vocabulary | str | os.PathLike[str] | None = None
    model_config: ModelConfig | None = None
    tokenizer_config: TokenizerConfig | None = None

    def __post_init__(self) -> None:
        new = (self.vocabulary, self.model_config, self.tokenizer_config)
        if self.directory is not None and new != (None, None, None):
            raise ConfigError(
                "A model that is continued keeps its vocabulary, tokenizer and sizes. Received: "
                f"`{self.directory}` and settings of a new model. Leave them out, or leave out --from."
            )


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """Everything that a run needs to take its steps.

    Attributes:
        config: all settings.
        output: the model directory to write; the run's own files are in `directory` inside it.
        strategy: where the step runs.
        step: model and optimizer.
        total_steps: int64 [], the end that the learning rate falls towards.
        store: the packed rows of both sides of the split.
        start: the `weights_digest` of the model that is continued; None for a new one.
    """

    config: TrainConfig
    output: Path
    strategy: tf.distribute.Strategy
    step: TrainStep
    total_steps: tf.Variable
    store: TokenStore
    start: str | None

    @property
    def directory(self) -> Path:
        """The folder of the run."""
        return self.output / RUN

    @property
    def chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return is_chief(self.strategy)

    @property
    def model(self) -> MaskedLM:
        """The model that is trained."""
        return self.step.model

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the model."""
        assert self.model.preprocessor is not None
        return self.model.preprocessor.vocabulary

    def variables(self) -> dict[str, tf.Variable]:
        """All that a checkpoint holds, by name."""
        model, optimizer = named_variables(self.model), self.step.optimizer.state()
        return {
            **{f"model/{name}": variable for name, variable in model.items()},
            **{f"optimizer/{name}": variable for name, variable in optimizer.items()},
        }

    def training_batches(self, first_step: int, last_step: int) -> tf.data.Dataset:
        """The global batches of the steps from `first_step` up to `last_step`."""
        return training_batches(
            self.store.train, self.vocabulary, self.config, first_step=first_step, steps=last_step
        )

    def evaluation_batches(self) -> Iterator[Batch]:
        """Held-out rows, the same with the same masks whenever they are asked for."""
        return evaluation_batches(self.store.held_out, self.vocabulary, self.config)


def open_run(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: Path,
    config: TrainConfig,
    source: Source,
    *,
    strategy: tf.distribute.Strategy | None,
    fresh: bool,
    console: Console | None,
) -> OpenRun:
    """Makes or finds all that a run consists of; arguments as those of `train`.

    Raises:
        ConfigError: for anything that cannot work.
        OSError: if a file of the run cannot be written or read.
    """
    corpus = Corpus.from_config(files, config)
    _check_output(output, source.directory)
    strategy = strategy or make_strategy(config.strategy, tpu=config.tpu)
    check_batch_size(strategy, config.batch_size, config.accumulation)
    worker, chief = worker_index(strategy), is_chief(strategy)
    directory = output / RUN
    if chief:
        if fresh:
            discard(directory)
        directory.mkdir(parents=True, exist_ok=True)
    with strategy.scope():
        if source.directory is not None:
            model = loaded_model(source.directory, config)
        else:
            vocabulary = _vocabulary(source, corpus, directory, config, write=chief)
            model = new_model(config, vocabulary, source.model_config)
        total_steps = tf.Variable(config.steps or DEFAULT_STEPS, dtype=tf.int64, trainable=False)
        trained = parameters(model, train=config.train, layer_decay=config.layer_decay)
        optimizer = Optimizer(trained, learning_rate_schedule(config, total_steps), config)
        step = TrainStep.from_config(model, optimizer, config)
    tokens = directory / ("tokens" if worker is None else f"tokens-{worker}")
    store = open_rows(corpus, tokens, model, length=config.length, console=console if chief else None)
    if source.directory is None:
        start_from_frequencies(model, store.train)
    start = None if source.directory is None else weights_digest(model)
    return OpenRun(config, output, strategy, step, total_steps, store, start)


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


def _vocabulary(
    source: Source, corpus: Corpus, directory: Path, config: TrainConfig, *, write: bool
) -> Vocabulary:
    """The vocabulary given; else the one this run has learnt before, from the same files with the same
    settings; else a new one, learnt from the training documents.
    """
    tokenizer = source.tokenizer_config or TokenizerConfig()
    if isinstance(source.vocabulary, Vocabulary):
        return source.vocabulary
    if source.vocabulary is not None:
        return Vocabulary.read(Path(source.vocabulary), tokenizer)
    text = corpus.of_text
    if not text.files:
        raise ConfigError(
            "Token ids say nothing without their vocabulary. Received: TFRecord files only. Give the "
            "vocabulary they were made with, or continue from a model directory with --from."
        )
    key: dict[str, Any] = {
        **text.key(),
        "tokenizer": to_json(dataclasses.replace(tokenizer, extra={})),
        "vocabulary_size": config.vocabulary_size,
    }
    path = directory / VOCABULARY
    with contextlib.suppress(OSError, ValueError):
        known = read_checked(path)
        if known["key"] == key:
            return Vocabulary(known["tokens"], tokenizer)
    # Held-out documents must not even decide which words get a token of their own.
    vocabulary = train_vocabulary(text.training_texts(), config.vocabulary_size, tokenizer)
    if write:
        write_checked(path, {"key": key, "tokens": vocabulary.tokens})
    return vocabulary
