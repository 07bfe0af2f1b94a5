"""Work by length: more text than any model can use."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from conformance.attacks.attack import Kind
from conformance.attacks.site import Site

KIND = Kind("work by length")
LONG = 32_000_000
TEXTS: dict[str, Callable[[int], bytes]] = {
    "words": lambda size: b"the cat sat on a mat . " * (size // 23),
    "one word": lambda size: b"a" * size,
    "masks": lambda size: b"[MASK] " * (size // 7),
    "blanks": lambda size: b" " * size,
    "accents": lambda size: "e\u0301\u0301\u0301".encode() * (size // 7),
    "Chinese": lambda size: "中".encode() * (size // 3),
    "no UTF-8": lambda size: b"\xff\xc0" * (size // 2),
    "punctuation": lambda size: b"." * size,
}


def texts(values: list[bytes]) -> tf.Tensor:
    return tf.make_tensor_proto(np.array(values, object))


def long_text(name: str, make: Callable[[int], bytes]) -> None:
    @KIND.attack(f"32 MB of {name} as one text, gRPC")
    def _(site: Site) -> int:
        size = site.many(LONG)
        text = texts([make(size)])
        for signature in ("tokenize", "", "encode", "pseudo_log_likelihood"):
            site.predict("mlm", {"text": text}, signature)
        return size


for _name, _make in TEXTS.items():
    long_text(_name, _make)


@KIND.attack("32 MB as one candidate")
def _(site: Site) -> int:
    size = site.many(LONG)
    for value in (TEXTS["words"](size), TEXTS["one word"](size)):
        inputs = {"text": texts([b"a [MASK]"]), "targets": tf.make_tensor_proto(np.array([[value]], object))}
        site.predict("mlm", inputs, "score_targets")
    return size


@KIND.attack("16 MB as one text, REST")
def _(site: Site) -> int:
    size = site.many(LONG // 2)
    text = TEXTS["words"](size).decode()
    for signature in ("tokenize", "", "pseudo_log_likelihood"):
        for key in ("instances", "inputs"):
            site.post("mlm", {"signature_name": signature, key: [text]})
    return size


@KIND.attack("a hundred thousand texts in gzip, REST")
def _(site: Site) -> int:
    largest = 0
    for signature in ("pseudo_log_likelihood", "encode", "", "tokenize"):
        body = {
            "signature_name": signature,
            "instances": ["the cat sat on the [MASK] ."] * site.many(100_000),
        }
        data = json.dumps(body).encode()
        largest = max(largest, len(data))
        site.post("mlm", gzip.compress(data), headers={"Content-Encoding": "gzip"})
    return largest


@KIND.attack("a hundred thousand texts, gRPC")
def _(site: Site) -> int:
    request = texts([b"the cat sat on the [MASK] ."] * site.many(100_000))
    for signature in ("pseudo_log_likelihood", "encode", "", "tokenize"):
        # A deadline ends what is too much; work that goes on after it shows in what is asked next.
        site.predict("mlm", {"text": request}, signature, timeout=2.0)
    return request.ByteSize()


@KIND.attack("a hundred thousand candidates")
def _(site: Site) -> int:
    targets = tf.make_tensor_proto(np.full([1, site.many(100_000)], b"cat", object))
    inputs = {"text": texts([b"the [MASK] sat on the [MASK]"]), "targets": targets}
    site.predict("mlm", inputs, "score_targets", timeout=2.0)
    return targets.ByteSize()


KINDS = (KIND,)
