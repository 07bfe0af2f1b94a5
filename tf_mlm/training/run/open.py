"""Opens a training run: from the names of files to a model, the rows it reads, and the batches of each step.

One direction: files, documents, split, vocabulary, model, packed rows, batches.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from rich.console import Console

from tf_mlm.config import ModelConfig, TokenizerConfig
from tf_mlm.durable import discard
from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.context_extension import extended
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.corpus_rows import open_rows
from tf_mlm.training.data.dataset import evaluation_batches, training_batches
from tf_mlm.training.data.token_store import TokenStore
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import DEFAULT_ARCHITECTURE, TrainConfig
from tf_mlm.training.parameter_groups import named_variables, parameters
from tf_mlm.training.run.checkpointing import Checkpoint
from tf_mlm.training.run.decay import starting_checkpoint
from tf_mlm.training.run.result import RUN
from tf_mlm.training.run.resume import as_started, check_architecture, weights_digest
from tf_mlm.training.run.vocabulary import given_vocabulary, learnt_vocabulary
from tf_mlm.training.schedule import learning_rate_schedule
from tf_mlm.training.starting_model import is_packed, loaded_model, new_model, start_from_frequencies
from tf_mlm.training.step import Batch, TrainStep
from tf_mlm.training.strategy import check_batch_size, is_chief, make_strategy, worker_count, worker_index

DEFAULT_STEPS = 10_000


@dataclasses.dataclass(frozen=True)
class Source:
    """What the model of a run is made from: a directory to continue, or what a new one is to be.

    Attributes:
        directory: a model directory to continue; then there is nothing else.
        vocabulary: of a new model, or the file or directory that holds it; learnt from the training
            documents if None.
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

    def architecture(self, config: TrainConfig) -> str:
        """The family of a new model: as `config` says, else as its sizes do, else BERT.

        Raises:
            ConfigError: if the two differ.
        """
        sized = None if self.model_config is None else self.model_config.model_type
        if config.architecture and sized and config.architecture != sized:
            raise ConfigError(
                "`architecture` and the `model_type` of `model_config` must agree. Received: "
                f"architecture={config.architecture!r}, model_type={sized!r}. Leave out `architecture`."
            )
        return config.architecture or sized or DEFAULT_ARCHITECTURE


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
        decays_from: the checkpoint of another run that this one decays.
    """

    config: TrainConfig
    output: Path
    strategy: tf.distribute.Strategy
    step: TrainStep
    total_steps: tf.Variable
    store: TokenStore
    start: str | None
    decays_from: Checkpoint | None = None

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
            *(self.store.train, self.vocabulary, self.config),
            first_step=first_step,
            steps=last_step,
            start=0 if self.decays_from is None else self.decays_from.step,
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
    decay_from: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None,
    fresh: bool,
    console: Console | None,
) -> OpenRun:
    """Makes or finds all that a run consists of; arguments as those of `train`.

    Raises:
        ConfigError: for anything that cannot work.
        OSError: if a file of the run cannot be written or read.
    """
    config = config if fresh else as_started(config, output / RUN)
    decays_from = None if decay_from is None else starting_checkpoint(decay_from, output, config)
    before = 0 if decays_from is None else decays_from.step
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
    if source.directory is None:
        check_architecture(directory, source.architecture(config))
    with strategy.scope():
        if source.directory is not None:
            model = _continued(source.directory, config, console if chief else None)
        else:
            vocabulary = _vocabulary(source, corpus, directory, config, write=chief)
            model = new_model(config, vocabulary, source.model_config)
        total_steps = tf.Variable(before + (config.steps or DEFAULT_STEPS), dtype=tf.int64, trainable=False)
        trained = parameters(model, train=config.train, layer_decay=config.layer_decay)
        schedule = learning_rate_schedule(config, total_steps, decay_start=before if decays_from else None)
        optimizer = Optimizer(trained, schedule, config)
        step = TrainStep.from_config(model, optimizer, config)
    tokens = directory / ("tokens" if worker is None else f"tokens-{worker}")
    packed, shown = is_packed(config, model), console if chief else None
    share = (worker or 0, worker_count(strategy))
    store = open_rows(corpus, tokens, model, length=config.length, packed=packed, console=shown, share=share)
    if source.directory is None:
        start_from_frequencies(model, store.train)
    start = None if source.directory is None else weights_digest(model)
    return OpenRun(config, output, strategy, step, total_steps, store, start, decays_from)


def _continued(directory: str | os.PathLike[str], config: TrainConfig, console: Console | None) -> MaskedLM:
    """The model of a directory, with its context extended where rows are longer than its positions."""
    model = loaded_model(directory, config)
    found = extended(model, config)
    if found is not model and console is not None:
        console.print(
            f"Context: {model.config.max_length:,} tokens and rope theta {model.config.rope_theta:,.0f}, now "
            f"{found.config.max_length:,} and {found.config.rope_theta:,.0f}."
        )
    return found


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
    """The vocabulary given, or the one that is learnt."""
    architecture, tokenizer = source.architecture(config), source.tokenizer_config
    if source.vocabulary is not None:
        return given_vocabulary(source.vocabulary, architecture, tokenizer)
    return learnt_vocabulary(corpus, directory, config.vocabulary_size, architecture, tokenizer, write=write)
