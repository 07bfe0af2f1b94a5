"""What the page's server answers: its files, and questions about its models as JSON.

    GET  /, /main.js, ...                      the files
    GET  /api/models                           the models, how they are doing, and the limits of a question
    GET  /api/facts/INDEX                      what a model is like
    POST /api/fill, /api/score, /api/tokenize  {"model": INDEX, "text": ..., ...}

An error is `{"error": {"code", "message", "hint"}}`, with the status that TF-Serving would send.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from tf_mlm.errors import AnswerError, InvalidInputError
from tf_mlm.page import questions
from tf_mlm.page.files import HEADERS, files
from tf_mlm.page.model import PageModel, as_json
from tf_mlm.page.visitors import Visitors
from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.rest.message import Reply, Request

TEXT_BYTES = 128 * 1024
"""What a text of a question may have; every one of its bytes may take six in JSON."""
BODY_BYTES = 8 * TEXT_BYTES
MOST_FILLS = 50
MOST_TARGETS = 50
_log = logging.getLogger(__name__)


class PageApi:
    """Answers requests; what surrounds it reads them and keeps their limits.

    Args:
        models: one or two.
        host: the address that is listened on.
    """

    def __init__(self, models: Sequence[PageModel], host: str) -> None:
        self._models = models
        self._visitors = Visitors(host)
        self._files = files()
        self._questions: dict[str, Callable[[PageModel, dict[str, Any]], dict[str, Any]]] = {
            "/api/fill": self._fill,
            "/api/score": lambda model, asked: questions.score(model, _text(asked)),
            "/api/tokenize": lambda model, asked: questions.tokenize(model, _text(asked)),
        }

    # ---- what `tf_mlm.serving.rest` asks of an API -----------------------------------------------

    def new_call(self) -> Call:
        """Clients of the models keep their own time."""
        return Call()

    def answer(self, request: Request, peer: str = "", call: Call | None = None) -> Reply:
        """The reply to a request."""
        path = request.target.partition("?")[0]
        asks = path not in self._files
        if refusal := self._visitors.refusal(request.headers, asks=asks):
            return _failed(403, "PERMISSION_DENIED", refusal)
        if not asks:
            if request.method not in ("GET", "HEAD"):
                return _failed(405, "UNIMPLEMENTED", f"Files can only be read. Received: {request.method}.")
            file = self._files[path]
            return Reply(200, file.body, file.content_type, HEADERS)
        try:
            return self._respond(request, path)
        except Exception as error:
            return _of(error)

    def error_reply(self, error: ServingError, status: int | None = None, closes: bool = False) -> Reply:
        """A request that could not be read."""
        reply = _failed(status or error.http_status, error.code.name, error.message)
        return dataclasses.replace(reply, closes=closes)

    def record(self, *_: object) -> None:
        """Nothing is counted or logged."""

    def close(self) -> None:
        """The models belong to whoever opened them."""

    # ---- the questions ---------------------------------------------------------------------------

    def _respond(self, request: Request, path: str) -> Reply:
        if request.method == "GET" and path == "/api/models":
            limits = {"text_bytes": TEXT_BYTES, "fills": MOST_FILLS, "targets": MOST_TARGETS}
            return _reply({"models": [model.describe() for model in self._models], "limits": limits})
        if request.method == "GET" and path.startswith("/api/facts/"):
            index = path.rpartition("/")[2]
            facts = self._model(next((n for n in range(len(self._models)) if str(n) == index), index)).facts()
            return _reply(dataclasses.asdict(facts))
        question = self._questions.get(path)
        if question is None:
            return _failed(404, "NOT_FOUND", f"There is nothing at {path[:200]!r}.")
        if request.method != "POST":
            return _failed(405, "UNIMPLEMENTED", f"A question is a POST. Received: {request.method}.")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _failed(415, "INVALID_ARGUMENT", "A question must be sent as application/json.")
        asked = _asked(request.body)
        return _reply(question(self._model(asked.get("model", 0)), asked))

    def _model(self, index: Any) -> PageModel:
        if type(index) is not int or not 0 <= index < len(self._models):
            raise InvalidInputError(
                f"`model` must be a number below {len(self._models)}. Received: {_short(index)}."
            )
        return self._models[index]

    def _fill(self, model: PageModel, asked: dict[str, Any]) -> dict[str, Any]:
        top_k, targets = asked.get("top_k", 5), asked.get("targets")
        if type(top_k) is not int or not 1 <= top_k <= MOST_FILLS:
            raise InvalidInputError(
                f"`top_k` must be a whole number from 1 to {MOST_FILLS}. Received: {_short(top_k)}."
            )
        if targets is not None:
            is_list = isinstance(targets, list) and all(isinstance(target, str) for target in targets)
            if not is_list or not 0 < len(targets) <= MOST_TARGETS:
                raise InvalidInputError(
                    f"`targets` must be a list of 1 to {MOST_TARGETS} words. Received: {_short(targets)}."
                )
            for target in targets:
                _check_length(target, "A target")
            top_k = len(targets)
        return questions.fill(model, _text(asked), top_k, targets)


def _asked(body: bytes | bytearray) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        start = bytes(body[:60])
        raise InvalidInputError(f"A question must be a JSON object in UTF-8. Received: {start!r}.")
    return asked


def _text(asked: dict[str, Any]) -> str:
    text = asked.get("text")
    if not isinstance(text, str):
        raise InvalidInputError(f"`text` must be a string. Received: {_short(text)}.")
    _check_length(text, "A text")
    return text


def _check_length(text: str, what: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES:
        raise InvalidInputError(f"{what} may have at most {TEXT_BYTES} bytes here. Received: {size} bytes.")


def _short(value: Any) -> str:
    return repr(value)[:60]


def _reply(value: Any) -> Reply:
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Reply(200, body.encode("utf-8", "replace"), headers=HEADERS)


def _failed(status: int, code: str, message: str, hint: str = "") -> Reply:
    body = json.dumps({"error": {"code": code, "message": message, "hint": hint}})
    return Reply(status, body.encode(), headers=HEADERS)


def _of(error: Exception) -> Reply:
    """What becomes of a question that failed; what nobody has thought of is logged too."""
    if not isinstance(error, (ServingError, InvalidInputError, AnswerError)):
        _log.error("A question failed", exc_info=error)
    shown = as_json(error)
    status = ServingError(Code[shown["code"]], "").http_status
    return _failed(status, **shown)
