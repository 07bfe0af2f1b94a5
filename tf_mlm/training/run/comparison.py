"""Model directories measured on the same text."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.checkpoint import read_config
from tf_mlm.model.directory.tokenizer_files import read_preprocessor
from tf_mlm.training.data.dataset import evaluation_batches
from tf_mlm.training.data.files import find_files
from tf_mlm.training.evaluation import Evaluation, Evaluator
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.start import loaded_model, open_rows


def evaluate(
    directories: Sequence[str | os.PathLike[str]],
    files: Sequence[str | os.PathLike[str]],
    config: TrainConfig | None = None,
    *,
    only_held_out: bool = False,
    console: Console | None = None,
) -> list[Evaluation]:
    """Held-out loss, perplexity, top-1 and top-5 of each model directory.

    All see the same masks, as rows and masks depend on text, vocabulary and settings alone.

    Args:
        directories: model directories, one or more.
        files: paths or globs, as for training.
        config: `length`, `batch_size`, mask rates, `evaluation_rows` and `held_out` are used.
        only_held_out: leave out the documents that training with the same `held_out` share reads.
        console: for progress; None prints nothing.

    Raises:
        ConfigError: for files without text, a model without a tokenizer or too few positions, one whose
            loss is not finite, or models with different vocabularies: their masks, and so their losses,
            could not be compared.
    """
    config = config or TrainConfig()
    _check_same_vocabulary([Path(directory) for directory in directories])
    paths = find_files(files)
    share = config.held_out if only_held_out else 1.0
    results = []
    for directory in directories:
        model = loaded_model(directory, config)
        assert model.preprocessor is not None
        with tempfile.TemporaryDirectory() as temporary:
            store = open_rows(paths, Path(temporary) / "tokens", model, config, console, held_out=share)
            batches = evaluation_batches(store.held_out, model.preprocessor.vocabulary, config)
            result = Evaluator(model)(batches)
            if not math.isfinite(result.loss):
                raise ConfigError(
                    f"A model must answer with numbers. Received: `{directory}`, whose loss is "
                    f"{result.loss}. Its weights are damaged, or its training diverged. Write it again."
                )
            results.append(result)
    return results


def _check_same_vocabulary(directories: Sequence[Path]) -> None:
    vocabularies = []
    for directory in directories:
        preprocessor = read_preprocessor(directory, read_config(directory))
        vocabularies.append(preprocessor and preprocessor.vocabulary)
    for directory, vocabulary in zip(directories, vocabularies, strict=True):
        if vocabulary and vocabularies[0] and vocabulary != vocabularies[0]:
            raise ConfigError(
                "Models that are compared must have the same vocabulary, else they would not see the same "
                f"masks. Received: `{directories[0]}` ({vocabularies[0].size:,} tokens) and `{directory}` "
                f"({vocabulary.size:,} tokens), which differ. Evaluate each on its own; their losses count "
                "different tokens."
            )
