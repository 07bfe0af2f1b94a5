"""The client for code that runs in asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_mlm import signatures
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.questions import Questions, connect
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.tls import PemFile, Tls
from tf_mlm.serving.client.transport import MAX_ANSWER_BYTES, Settings, SignatureSpec, Transport

__all__ = ["AsyncClient", "ClientError"]


class AsyncClient:
    """`Client` for asyncio: the same arguments, methods, answers and errors, each method to be awaited.

    It belongs to the event loop that runs when it is made. Any number of questions may be asked at once; one
    that is cancelled is given up.

    Args:
        target: as of `Client`, and so are the others.

    Raises:
        ValueError, OSError, ClientError, InvalidInputError: as of `Client`.

    Example:
        >>> import asyncio
        >>> from tf_mlm.serving.client.async_client import AsyncClient
        >>> async def fill(*texts):
        ...     async with AsyncClient(f"http://127.0.0.1:{port}/mlm") as client:
        ...         return await asyncio.gather(*(client.fill(text, top_k=1) for text in texts))
        >>> fills = asyncio.run(fill("Paris is the [MASK] of France.", "Rome is [MASK]."))
        >>> len(fills)
        2
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        root_certificates: PemFile | None = None,
        private_key: PemFile | None = None,
        certificate_chain: PemFile | None = None,
        transport: Transport | None = None,
    ) -> None:
        tls = Tls(root_certificates, private_key, certificate_chain)
        settings = Settings(timeout, retries, max_answer_bytes, tls)
        self.target = Target.parse(target)
        self._questions = Questions(self.target, transport or connect(self.target, settings, waits=True))

    async def predict(
        self, inputs: Mapping[str, Any], signature: str = signatures.FILL.name
    ) -> dict[str, np.ndarray]:
        """As `Client.predict`."""
        return await self._questions.predict(inputs, signature)

    async def status(self) -> list[dict[str, Any]]:
        """As `Client.status`."""
        return await self._questions.transport.status()

    async def metadata(self) -> dict[str, SignatureSpec]:
        """As `Client.metadata`."""
        return await self._questions.transport.metadata()

    async def score(self, texts: Any) -> dict[str, np.ndarray]:
        """As `Client.score`."""
        return await self._questions.ask_texts(texts, signatures.PSEUDO_LOG_LIKELIHOOD)

    async def tokenize(self, texts: Any) -> dict[str, np.ndarray]:
        """As `Client.tokenize`."""
        return await self._questions.ask_texts(texts, signatures.TOKENIZE)

    async def encode(self, texts: Any) -> np.ndarray:
        """As `Client.encode`."""
        return (await self._questions.ask_texts(texts, signatures.ENCODE))["embeddings"]

    async def fill(self, texts: Any, top_k: int = 5, targets: Any = None) -> list[Any]:
        """As `Client.fill`."""
        return await self._questions.fill(texts, top_k, targets, stacklevel=4)

    async def close(self) -> None:
        """Closes the connection."""
        await self._questions.transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
