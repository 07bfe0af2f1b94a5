"""The weight files of a model directory: named tensors, in one file or in shards with an index."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import h5py
import numpy as np
import safetensors
import safetensors.numpy

from tf_mlm.config import check_not_a_pointer, read_json
from tf_mlm.durable import appearing
from tf_mlm.errors import CheckpointError, ConfigError
from tf_mlm.model.directory.refused_weights import (
    ADAPTER,
    EXPECTED,
    READ,
    SAFETENSORS,
    has_weights,
    refuse_other_forms,
)
from tf_mlm.model.directory.tf_model_names import pytorch_name, unread, variables


class TensorSource(Protocol):
    """Named tensors from somewhere.

    Attributes:
        origin: the file or directory to name in messages.
        shapes: the shape of every tensor, by name.
    """

    origin: Path
    shapes: dict[str, tuple[int, ...]]

    def read(self, name: str) -> np.ndarray:
        """The tensor as it is stored."""

    def file(self, name: str) -> Path:
        """The file that holds the tensor."""


class TensorFiles:
    """Reads tensors by name from `model.safetensors`, `pytorch_model.bin`, `tf_model.h5`, or their shards.

    Files are opened at construction and closed by the context manager; a tensor is read when it is
    asked for, so that the whole checkpoint is never in memory twice.

    A `TensorSource`.

    Raises:
        CheckpointError: when there is no weight file, or a file is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.origin = directory
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._readers: dict[str, Callable[[], np.ndarray]] = {}
        self._files: dict[str, Path] = {}
        self._of_keras = False
        self._stack = ExitStack()
        if (directory / ADAPTER).is_file() or not has_weights(directory):
            refuse_other_forms(directory)
        for path in self._weight_files():
            try:
                check_not_a_pointer(path)
            except ConfigError as error:
                raise CheckpointError(str(error)) from None
            {".safetensors": self._open_safetensors, ".h5": self._open_keras}.get(
                path.suffix, self._open_pytorch
            )(path)
        for name in unread(self.shapes) if self._of_keras else ():
            del self.shapes[name]

    def __enter__(self) -> TensorFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, name: str) -> np.ndarray:
        """The tensor as it is stored; bfloat16 comes as `ml_dtypes.bfloat16` or widened to float32."""
        return self._readers[name]()

    def file(self, name: str) -> Path:
        """The file that holds the tensor."""
        return self._files[name]

    def _weight_files(self) -> list[Path]:
        for name in READ:
            if (self.origin / name).is_file():
                return [self.origin / name]
            index = self.origin / f"{name}.index.json"
            if index.is_file():
                weight_map = read_json(index).get("weight_map")
                names = weight_map.values() if isinstance(weight_map, dict) else ()
                if not names or not all(isinstance(name, str) for name in names):
                    raise CheckpointError(f"`{index}` must hold a `weight_map` from tensor to file name.")
                shards = [self.origin / shard for shard in sorted(set(names))]
                for shard in shards:
                    if not shard.is_file():
                        raise CheckpointError(
                            f"`{index}` names a shard that is not there: `{shard.name}`. Download or copy it "
                            f"to `{self.origin}`."
                        )
                return shards
        raise CheckpointError(f"`{self.origin}` holds no weights. {EXPECTED}")

    def _add(self, path: Path, name: str, shape: Any, read: Callable[[], np.ndarray]) -> None:
        if name in self._files:
            raise CheckpointError(
                f"A tensor must be in one file. Received: {name} in `{self._files[name]}` and `{path}`. "
                "Copy all shards again, from one model."
            )
        self.shapes[name], self._readers[name], self._files[name] = tuple(shape), read, path

    def _open_safetensors(self, path: Path) -> None:
        try:
            file = self._stack.enter_context(safetensors.safe_open(str(path), framework="np"))
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(
                f"`{path}` is not a complete safetensors file ({error}{_first_cut_off(path)}). Copy it again."
            ) from error
        of_keras = (file.metadata() or {}).get("format") == "tf"
        for name in file.keys():  # noqa: SIM118 - not a dict
            add = self._add_of_keras if of_keras else self._add
            add(path, name, file.get_slice(name).get_shape(), partial(_get_tensor, file, path, name))

    def _open_keras(self, path: Path) -> None:
        try:
            file = self._stack.enter_context(h5py.File(path))
            found = list(variables(file))
        except (OSError, KeyError) as error:
            raise CheckpointError(
                f"`{path}` is not a complete HDF5 file ({error}). Copy it again."
            ) from error
        if not found:
            raise CheckpointError(
                f"`{path}` must hold the weights of one of transformers' TensorFlow models. Received: an "
                f"HDF5 file of {', '.join(sorted(file)) or 'nothing'}. Save other Keras models as "
                f"{SAFETENSORS} with the program that made them."
            )
        for name, data in found:
            self._add_of_keras(path, name, data.shape, partial(_get_array, path, name, data))

    def _add_of_keras(self, path: Path, name: str, shape: Any, read: Callable[[], np.ndarray]) -> None:
        self._of_keras = True
        found, transposed = pytorch_name(name)
        if self._files.get(found) == path:  # a table that the head shares stands there for each layer
            if not np.array_equal(read(), self.read(found)):
                raise CheckpointError(
                    f"`{path}`: `{name}` must be the same wherever it stands. Received: two of different "
                    "values. Save the model again with the program that made it."
                )
            return
        if transposed:
            self._add(path, found, tuple(shape)[::-1], lambda: read().T)
        else:
            self._add(path, found, shape, read)

    def _open_pytorch(self, path: Path) -> None:
        try:
            import torch
        except ModuleNotFoundError as error:
            raise CheckpointError(
                f"`{path}` is in PyTorch's format, which needs torch: run `pip install torch`, "
                f"or save the model again as {SAFETENSORS}."
            ) from error
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises its own, zip's and pickle's errors for a damaged file
            raise CheckpointError(f"`{path}` is not a readable PyTorch checkpoint ({error}).") from error
        if not isinstance(tensors, Mapping):
            tensors = {"": tensors}
        for name, tensor in tensors.items():
            if not isinstance(tensor, torch.Tensor):
                raise CheckpointError(
                    f"`{path}` must hold tensors by name. Received: {name or 'the whole'} of type "
                    f"{type(tensor).__name__}. Save `model.state_dict()` itself."
                )

            def read(tensor: Any = tensor) -> np.ndarray:
                narrow = tensor.dtype == torch.bfloat16  # NumPy has no such type
                return (tensor.float() if narrow else tensor).numpy()

            self._add(path, name, tensor.shape, read)


def _get_tensor(file: Any, path: Path, name: str) -> np.ndarray:
    try:
        return file.get_tensor(name)
    except (AttributeError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"`{path}`: weights must be of a type that NumPy knows. Received: {name} of "
            f"{file.get_slice(name).get_dtype()}. Save the model in float32 or bfloat16."
        ) from error


def _get_array(path: Path, name: str, data: Any) -> np.ndarray:
    try:
        return data[()]
    except OSError as error:
        raise CheckpointError(f"`{path}` is damaged at `{name}` ({error}). Copy it again.") from error


def _first_cut_off(path: Path) -> str:
    """Names the first tensor whose bytes lie beyond the end of a truncated file, where that can be told."""
    data = path.read_bytes()[: 1 << 26]
    size = path.stat().st_size
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:start])
    except ValueError:
        return ""
    if not isinstance(header, dict):
        return ""
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if start + entry["data_offsets"][1] > size:
            return f"; first tensor cut off: {name}"
    return ""


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors so that transformers takes the file for one of its own."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    metadata = {"format": "pt"}  # transformers refuses files without it
    with appearing(path) as beside:
        safetensors.numpy.save_file(contiguous, beside, metadata=metadata)
