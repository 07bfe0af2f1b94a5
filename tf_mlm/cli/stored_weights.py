"""What `tf-mlm export` stores matrices as: the options that say it, such a model, and its accuracy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tf_mlm.model.masked_lm import MaskedLM
    from tf_mlm.training.step import Batch


def storage(
    quantize: str | None, dtype: str | None, arithmetic: str | None, evaluate: tuple[str, ...]
) -> str | None:
    """As what matrices are stored, of options that go together; None: as the model has them."""
    if quantize and dtype:
        raise click.UsageError(
            f"--quantize and --dtype both say how matrices are stored. Received: {quantize} and {dtype}. "
            "Give one of the two."
        )
    stored = quantize or dtype
    need = "--quantize int8 or --dtype bfloat16"
    if evaluate and not stored:
        raise click.UsageError(f"--evaluate compares rounded matrices with floats, so it needs {need}.")
    if arithmetic not in (None, "float", stored) or (arithmetic and not stored):
        needed = {"int8": "--quantize int8", "bfloat16": "--dtype bfloat16"}.get(str(arithmetic), need)
        raise click.UsageError(
            f"--arithmetic says how to multiply what is stored, so {arithmetic} needs {needed}."
        )
    return stored


def rounded(
    model: MaskedLM,
    stored: str,
    arithmetic: str,
    texts: Path | None,
    held_out: tuple[str, ...],
    text_field: str,
) -> tuple[MaskedLM, dict[str, Any]]:
    """The bfloat16 model, or the int8 one fitted to the texts; its accuracy on the held-out ones, if any."""
    import dataclasses

    from tf_mlm.export.accuracy import compare
    from tf_mlm.export.quantization import quantize, to_bfloat16

    if stored == "bfloat16":
        made = to_bfloat16(model)
    elif texts is None:
        made = quantize(model)
    else:
        with _masked_text(model, (str(texts),), text_field, rows=128) as batches:
            made = quantize(model, batches)
    if not held_out:
        return made, {}
    with _masked_text(model, held_out, text_field, rows=512) as batches:
        return made, dataclasses.asdict(compare(model, made, batches, arithmetic))


@contextlib.contextmanager
def _masked_text(
    model: MaskedLM, files: tuple[str, ...], text_field: str, *, rows: int
) -> Iterator[Iterator[Batch]]:
    """Up to so many rows of 128 tokens, some of them hidden."""
    import tempfile

    from tf_mlm.training.data.corpus import Corpus
    from tf_mlm.training.data.corpus_rows import open_rows
    from tf_mlm.training.data.dataset import evaluation_batches
    from tf_mlm.training.options import TrainConfig

    assert model.preprocessor is not None
    config = TrainConfig(
        length=min(128, model.config.max_length),
        batch_size=16,
        evaluation_rows=rows,
        text_field=text_field,
    )
    with tempfile.TemporaryDirectory() as directory:
        corpus = Corpus.from_config(files, config, held_out=1.0)
        text = open_rows(corpus, Path(directory) / "tokens", model, length=config.length, console=None)
        yield evaluation_batches(text.held_out, model.preprocessor.vocabulary, config)
