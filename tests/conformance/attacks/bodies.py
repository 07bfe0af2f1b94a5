"""One request stops all: JSON that takes a parser long."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

from conformance.attacks.attack import Kind
from conformance.attacks.site import Site

KIND = Kind("one request stops all")


@KIND.attack("blanks in base64")
def _(site: Site) -> int:
    for size in (60_000, 400_000, 4_000_000):
        blanks = " " * size
        for text in (
            blanks,
            blanks + "!",
            "YQ" + blanks + "=",
            "\n" * size + "*",
            "A" * size + "!",
            "=" * size,
        ):
            for key in ("instances", "inputs"):
                site.post("strings", {"signature_name": "plain", key: [{"b64": text}]})
        site.post("examples", {"examples": [{"name": {"b64": blanks + "!"}}]}, "classify")
    return 4_000_000


@KIND.attack("a JSON body of 160 MB")
def _(site: Site) -> int:
    body = b'{"instances": [' + b"0.12345678, " * 13_333_333 + b"1]}"
    site.post("half_plus_two", body)
    return len(body)


@KIND.attack("a JSON body of 16 MB at a time")
def _(site: Site) -> int:
    body = b'{"instances": [' + b"0.12345678, " * 1_333_333 + b"1]}"
    for _ in site.until_over():
        site.post("half_plus_two", body)
    return len(body)


@KIND.attack("bodies of 4 MB, eight at a time")
def _(site: Site) -> int:
    body = b'{"instances": [' + b"0.12345678, " * 333_333 + b"1]}"
    site.together(8, lambda _: [site.post("half_plus_two", body) for _ in range(site.many(3))])
    return 8 * len(body)


MEGABYTES_4 = 4_000_000
# Title → model asked, and the body.
SLOW: dict[str, tuple[str, Callable[[], bytes]]] = {
    "emoji escapes": ("strings", lambda: text_body(b"\\ud83d\\ude00" * (MEGABYTES_4 // 12))),
    "escapes of every kind": ("strings", lambda: text_body(b"\\n\\u0001\\/\\\\" * (MEGABYTES_4 // 12))),
    "invalid UTF-8": ("strings", lambda: text_body(b"\xff\xc0" * (MEGABYTES_4 // 2))),
    "one emoji escape before 4 MB of numbers": (
        "half_plus_two",
        lambda: b'{"x": "\\ud83d\\ude00", ' + rows(b"1," * (MEGABYTES_4 // 2) + b"1")[1:],
    ),
    "Inf before 4 MB of numbers": (
        "half_plus_two",
        lambda: rows(b"Inf," + b"1," * (MEGABYTES_4 // 2) + b"1"),
    ),
    "an error at the end of 4 MB": ("half_plus_two", lambda: rows(b"1," * (MEGABYTES_4 // 2))),
    "brackets that never close": ("strings", lambda: b"[" * 1_000_000),
    "keys that never close": ("strings", lambda: b'{"a":' * 1_000_000),
    "nesting under a key nobody asked for": (
        "strings",
        lambda: b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b', "instances": ["a"]}',
    ),
    "an integer of a million digits": ("half_plus_two", lambda: rows(b"9" * 1_000_000)),
    "a fraction of a million digits": ("half_plus_two", lambda: rows(b"0." + b"1" * 1_000_000)),
    "integers of four thousand digits": ("half_plus_two", lambda: rows((b"9" * 4000 + b",") * 1000 + b"1")),
    "numbers beyond double": ("half_plus_two", lambda: rows(b"1e308," * 600_000 + b"1e999999")),
    "many keys": (
        "strings",
        lambda: b"{" + b",".join(b'"%d": 1' % n for n in range(300_000)) + b', "instances": ["a"]}',
    ),
    "one key many times": ("strings", lambda: b"{" + b'"a": 1,' * 500_000 + b'"instances": ["a"]}'),
    "a key of 4 MB": ("strings", lambda: b'{"' + b"k" * MEGABYTES_4 + b'": 1, "instances": ["a"]}'),
    "a signature name of 4 MB": (
        "strings",
        lambda: b'{"signature_name": "' + b"s" * MEGABYTES_4 + b'", "instances": ["a"]}',
    ),
    "rows of unequal kinds": ("half_plus_two", lambda: rows(b"1, 2.5, " * 400_000 + b'"a"')),
    "rows of unequal sizes": ("half_plus_two", lambda: rows(b"[1], " * 600_000 + b"[1, 2]")),
    "objects with unequal keys": ("pair", lambda: rows(b'{"a": 1, "b": 2},' * 100_000 + b'{"a": 1}')),
    "many base64 objects": ("strings", lambda: rows(b'{"b64": "YQ=="},' * 250_000 + b'{"b64": "YQ=="}')),
    "many base64 objects, the last one wrong": (
        "strings",
        lambda: rows(b'{"b64": "YQ=="},' * 250_000 + b'{"b64": "*"}'),
    ),
    "blanks only": ("strings", lambda: b" " * MEGABYTES_4),
    "blanks between values": ("half_plus_two", lambda: rows((b"1" + b" " * 1000 + b",") * 4000 + b"1")),
}


def rows(items: bytes) -> bytes:
    return b'{"instances": [' + items + b"]}"


def text_body(text: bytes) -> bytes:
    return b'{"signature_name": "plain", "instances": ["' + text + b'"]}'


def slow_body(title: str, model: str, make: Callable[[], bytes]) -> None:
    @KIND.attack(title)
    def _(site: Site) -> int:
        body = make()
        for _ in range(site.many(4)):
            site.post(model, body)
        return len(body)


for _title, (_model, _make) in SLOW.items():
    slow_body(_title, _model, _make)


@KIND.attack("slow parses, sixteen at a time")
def _(site: Site) -> int:
    body = b'{"instances": [Inf,' + b"1," * 500_000 + b"1]}"
    site.together(16, lambda _: site.post("half_plus_two", body))
    return 16 * len(body)


@KIND.attack("base64 of 16 MB")
def _(site: Site) -> int:
    text = base64.b64encode(b"a" * 12_000_000).decode()
    for key in ("instances", "inputs"):
        site.post("strings", {"signature_name": "plain", key: [{"b64": text}]})
    return len(text)


@KIND.attack("example bodies")
def _(site: Site) -> int:
    bodies: tuple[dict[str, Any], ...] = (
        {"examples": [{"x": [0.5] * 300_000}]},
        {"examples": [{str(n): 1.0 for n in range(100_000)}]},
        {"examples": [{"x": [0.5] * 300_000 + ["a"]}]},
        {"examples": [{}] * 100_000, "context": {"x": 1.0}},
        {"examples": [[[[]]]] * 100_000},
        {"examples": [{"name": "\U0001f600" * 300_000}]},
    )
    for body in bodies:
        for verb in ("classify", "regress"):
            site.post("examples", body, verb)
    return len(json.dumps(bodies[-1]))


@KIND.attack("SIGTERM in the middle of it", own_server=True)
def _(site: Site) -> None:
    with site.own_server("--shutdown_grace_seconds=5") as own:
        body = json.dumps({"signature_name": "plain", "instances": [{"b64": " " * 400_000 + "!"}]}).encode()
        sender = threading.Thread(target=own.post, args=("strings", body), daemon=True)
        sender.start()
        sender.join(0.5)
        status, seconds = own.target.end(20)
        site.expect(status == 0, f"SIGTERM: the server ended with {status} after {seconds:.1f} s")


KINDS = (KIND,)
