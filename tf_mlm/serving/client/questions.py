"""What both clients ask, written once: as coroutines, over whatever transport."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tf_mlm import signatures
from tf_mlm.errors import AnswerError, DecoderError, MissingOutputsError
from tf_mlm.fills import FillRequest
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.transport import (
    Settings,
    SignatureSpec,
    TensorSpec,
    Transport,
    broken_answer,
)
from tf_mlm.serving.errors import Code
from tf_mlm.texts import as_texts

_DTYPES = {"float": "float32", "double": "float64", "half": "float16"}


class Questions:
    """Asks one model. Methods are those of `Client`, where they are described."""

    def __init__(self, target: Target, transport: Transport) -> None:
        self._target, self.transport = target, transport
        self._signatures: dict[str, SignatureSpec] = {}

    # ---- any model -----------------------------------------------------------------------------

    async def predict(self, inputs: Mapping[str, Any], signature: str) -> dict[str, np.ndarray]:
        arrays = {alias: await self._array(alias, value, signature) for alias, value in inputs.items()}
        return await self.transport.predict(arrays, signature)

    async def _array(self, alias: str, value: Any, signature: str) -> np.ndarray:
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "OSU":
            return np.asarray(value)
        array = np.asarray(value)
        if array.dtype.kind in "OSU":
            return _strings(value, alias)
        if signature not in self._signatures:
            self._signatures = await self.transport.metadata()
        spec = self._signatures.get(signature)
        if spec is None or alias not in spec.inputs:
            return array
        dtype = spec.inputs[alias].dtype
        if dtype == "string":  # what is empty has no type of its own
            return array if array.size else _strings(value, alias)
        return array.astype(_DTYPES.get(dtype, dtype))

    # ---- an exported masked language model -----------------------------------------------------

    async def ask_texts(self, texts: Any, signature: signatures.Signature) -> dict[str, np.ndarray]:
        """The outputs of a signature whose one input is texts."""
        batch = as_texts(texts, "text")[0]
        outputs = await self._answer({"text": batch}, signature)
        with self._checking():
            signature.check_outputs(outputs, len(batch))
        return outputs

    async def fill(self, texts: Any, top_k: int, targets: Any, stacklevel: int) -> list[Any]:
        request = FillRequest(texts, top_k, targets)
        outputs = await self._answer(request.inputs, request.signature)
        with self._checking():
            return request.answer(outputs, stacklevel=stacklevel)

    async def _answer(
        self, inputs: Mapping[str, np.ndarray], signature: signatures.Signature
    ) -> dict[str, np.ndarray]:
        """One request; the types of its outputs are known, so it stays one over REST too."""
        outputs = {
            alias: TensorSpec(tensor.dtype, (-1,) * len(tensor.shape))
            for alias, tensor in signature.outputs.items()
        }
        return await self.transport.predict(inputs, signature.name, outputs)

    @contextlib.contextmanager
    def _checking(self) -> Iterator[None]:
        try:
            yield
        except MissingOutputsError as error:
            raise ClientError(
                Code.FAILED_PRECONDITION,
                f"{error} The model is no export of this version of tf_mlm",
                str(self._target),
                hint="Export it again with `tf-mlm export`; `predict` asks any model.",
            ) from error
        except DecoderError as error:
            raise ClientError(Code.FAILED_PRECONDITION, str(error), str(self._target), hint="") from error
        except AnswerError as error:
            raise broken_answer(str(error), self._target) from error


def connect(target: Target, settings: Settings, *, waits: bool) -> Transport:
    """A transport for the target's protocol.

    gRPC's messages come with TensorFlow, which takes seconds to import; REST needs neither.

    Raises:
        ValueError: for certificates where there is no TLS.
    """
    if settings.tls and not target.has_tls:
        raise ValueError(
            "Certificates need a target with TLS, grpcs://host:port/name or https://host:port/name. "
            f"Received: {target}."
        )
    if target.scheme in ("grpc", "grpcs"):
        from tf_mlm.serving.client.grpc_transport import GrpcTransport

        return GrpcTransport(target, settings, waits=waits)
    from tf_mlm.serving.client.rest_transport import RestTransport

    return RestTransport(target, settings, waits=waits)


def _strings(texts: Any, alias: str) -> np.ndarray:
    """Strings of any nesting as an object array of UTF-8 bytes; lone surrogates as invalid UTF-8."""
    array = np.array(texts, object)
    return as_texts(array.ravel().tolist(), alias)[0].reshape(array.shape)
