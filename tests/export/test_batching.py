"""The batching parameters of an export are its buckets, as TF-Serving reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_mlm.config import Buckets, from_json
from tf_mlm.export.batching import FILE, batching_parameters
from tf_mlm.export.description import read_description
from tf_mlm.serving.batching.parameters_file import read_batching_options


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (1, 4, 16, 32)])
def test_sizes_are_the_batch_buckets(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    file = tmp_path / FILE
    file.write_text(batching_parameters(Buckets(batch=sizes)))
    options = read_batching_options(file)
    assert options.allowed_batch_sizes == sizes
    assert options.max_batch_size == sizes[-1]
    assert options.pad_variable_length_inputs


def test_every_version_carries_its_own(tiny_export: Path) -> None:
    buckets = from_json(Buckets, read_description(tiny_export)["buckets"])
    assert read_batching_options(tiny_export / FILE).allowed_batch_sizes == buckets.batch
