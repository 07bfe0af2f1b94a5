"""The page's own server, beside whatever serves the model.

It stands on the HTTP connections of `tf_mlm.serving.rest`, which bound how long a request may take to come,
how large it may be and how many there are; only the answers are others. So nothing is added to what the
model server itself depends on, and the paths of TF-Serving stay exactly its.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tf_mlm.page.api import BODY_BYTES, PageApi
from tf_mlm.page.model import PageModel
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.server import RestServer

_CONNECTIONS = 256
_REQUESTS = 64


class PageServer:
    """Serves the page of one or two models until it is stopped.

    Args:
        models: what is looked at; they are closed with the server.
        host: the address to listen on; the page has no password, so others than loopback are for trusted
            networks.
        port: 0 picks a free one.

    Attributes:
        url: the page's address.

    Raises:
        OSError: when the port is in use.

    Example:
        >>> from tf_mlm.page.model import PageModel
        >>> from tf_mlm.page.server import PageServer
        >>> from tf_mlm.serving.client.client import Client
        >>> target = f"http://127.0.0.1:{port}/mlm"
        >>> with PageServer([PageModel(target, Client(target), "server")], port=0) as page:
        ...     print(page.url[:17])
        http://127.0.0.1:
    """

    def __init__(self, models: Sequence[PageModel], host: str = "127.0.0.1", port: int = 8600) -> None:
        options = ServerOptions(
            rest_host=host,
            rest_port=port,
            grpc_port=None,
            rest_max_body_bytes=BODY_BYTES,
            rest_max_connections=_CONNECTIONS,
            max_concurrent_requests=_REQUESTS,
        )
        self._models = models
        self._server = RestServer(PageApi(models, host), options)
        self._stopped = threading.Event()
        self.port = self._server.port
        shown = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
        self.url = f"http://{shown}:{self.port}/"

    def wait(self) -> None:
        """Returns once the server has been stopped."""
        self._stopped.wait()

    def stop(self) -> None:
        """Ends it; questions in progress have a second."""
        self._server.stop(1.0)
        for model in self._models:
            model.close()
        self._stopped.set()

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
