"""Generated HTTP requests: right ones, nearly right ones, and noise."""

from __future__ import annotations

import base64
import json
from typing import Any

import hypothesis.strategies as st

MODELS = (
    "half_plus_two",
    "pair",
    "mixed",
    "dtypes",
    "strings",
    "examples",
    "shapes",
    "scale",
    "counter",
    "tf_text",
    "no",
)
SIGNATURES = (
    "", "serving_default", "int32", "int8", "uint64", "bool", "string", "float16", "bytes", "scalar",
    "uneven", "zero_rows", "with_default", "classify_x_to_y", "regress_x_to_y", "no_inputs", "vector", "no",
)  # fmt: skip
NAMES = ("x", "y", "a", "b", "text", "ints", "texts", "floats", "doubles", "inputs", "b64", "count", "name")
KEYS = ("instances", "inputs", "signature_name", "examples", "context")

characters = st.characters(codec="utf-8")
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        (0, 1, -1, 2**31, 2**63, 2**64, 1e308, -0.0, "", "NaN", {"b64": "aGk="}, {"b64": "%"}, {"b64": 1})
    ),
    st.text(characters, max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(NAMES), st.text(characters, max_size=3)), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
numbers = st.recursive(st.floats(width=32), lambda inner: st.lists(inner, max_size=3), max_leaves=8)
objects = st.dictionaries(st.sampled_from(NAMES), st.one_of(numbers, values), max_size=4)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.one_of(st.sampled_from(SIGNATURES), values),
        "instances": st.one_of(st.lists(st.one_of(numbers, objects, values), max_size=4), values),
        "inputs": st.one_of(numbers, objects, values),
        "examples": st.one_of(st.lists(objects, max_size=3), values),
        "context": st.one_of(objects, values),
    },
)
sane_bodies = st.one_of(
    st.builds(lambda rows: {"instances": rows}, st.lists(st.floats(width=32), min_size=1, max_size=4)),
    st.builds(
        lambda name, rows: {"signature_name": name, "instances": rows},
        st.sampled_from(SIGNATURES),
        st.lists(scalars, min_size=1, max_size=4),
    ),
    st.builds(
        lambda name, rows: {"signature_name": name, "examples": rows},
        st.sampled_from(SIGNATURES),
        st.lists(st.dictionaries(st.sampled_from(NAMES), scalars, max_size=3), min_size=1, max_size=3),
    ),
)
json_bytes = st.builds(lambda value: json.dumps(value).encode(), st.one_of(bodies, sane_bodies, values))
tokens = st.sampled_from(
    (
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b"\\",
            b"\\u",
            b"\\ud800",
            b"/*",
            b"\xff",
            b"\x00",
            b"\xef\xbb\xbf",
        ),
        *(b"NaN", b"-Inf", b"1e400", b"1e", b"0" * 400, b"9" * 400),
        *(b'"instances"', b"[" * 5000, b'{"a":' * 2000),
    )
)


def splice(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Each edit replaces some bytes at some place; places wrap around the end."""
    for position, length, insertion in edits:
        at = position % (len(data) + 1)
        data = data[:at] + insertion + data[at + length :]
    return data


edits = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 8), st.one_of(tokens, st.binary(max_size=4))), max_size=4
)
http_bodies = st.one_of(json_bytes, st.builds(splice, json_bytes, edits), st.binary(max_size=64))
segments = st.one_of(
    st.sampled_from(
        (
            "v1",
            "models",
            "versions",
            "labels",
            "metadata",
            "stable",
            "1",
            "-1",
            str(2**64),
            "%2F",
            "%",
            "..",
            "",
        )
    ),
    st.sampled_from(MODELS),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=6),
)
paths = st.one_of(
    st.builds(
        "/v1/models/{}:{}".format,
        st.sampled_from(MODELS),
        st.sampled_from(("predict", "classify", "regress")),
    ),
    st.builds(
        "/v1/models/{}{}{}".format,
        st.sampled_from(MODELS),
        st.sampled_from(
            ("", "/versions/1", "/versions/123", "/labels/stable", "/labels/%41", f"/versions/{10**30}")
        ),
        st.sampled_from(("", "/metadata", ":predict", ":classify", ":regress", ":Predict", "?x", "/")),
    ),
    st.builds(
        lambda parts, verb: "/" + "/".join(parts) + verb,
        st.lists(segments, max_size=6),
        st.sampled_from(("", ":predict")),
    ),
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Encoding": st.sampled_from(("gzip", "identity", "gzip, gzip", "x")),
        "Content-Type": st.sampled_from(("application/json", "text/plain", "x")),
        "Origin": st.sampled_from(("http://a", "ftp://b", "")),
        "X-Long": st.integers(0, 20_000).map(lambda count: "a" * count),
    },
)
methods = st.sampled_from(("POST",) * 12 + ("GET", "PUT", "OPTIONS", "DELETE", "HEAD", "TRACE", "ODD"))
floats = st.floats(width=32)
rows = st.lists(st.one_of(floats, st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=4)
matrices = st.integers(0, 3).flatmap(
    lambda n: st.lists(st.lists(floats, min_size=n, max_size=n), min_size=1, max_size=3)
)
texts = st.one_of(
    st.text(characters, max_size=8),
    st.binary(max_size=8).map(lambda b: {"b64": base64.b64encode(b).decode()}),
)
whole = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "string": texts,
}
# (path, body) that should be answered; what the other strategies do to them, they do at random.
likely = st.one_of(
    st.tuples(st.just("half_plus_two:predict"), st.one_of(rows, matrices).map(lambda x: {"instances": x})),
    st.tuples(
        st.just("half_plus_two:predict"),
        st.one_of(rows, matrices, floats).map(lambda x: {"inputs": {"x": x}}),
    ),
    st.tuples(
        st.just("pair:predict"),
        st.lists(st.fixed_dictionaries({"a": floats, "b": floats}), min_size=1, max_size=3).map(
            lambda x: {"instances": x}
        ),
    ),
    *(
        st.tuples(
            st.just("dtypes:predict"),
            st.lists(each, min_size=1, max_size=3).map(
                lambda x, name=name: {"signature_name": name, "inputs": x}  # type: ignore[misc]
            ),
        )
        for name, each in whole.items()
    ),
    st.tuples(
        st.just("strings:predict"),
        st.lists(texts, min_size=1, max_size=3).map(
            lambda x: {"signature_name": "bytes_and_length", "instances": x}
        ),
    ),
    st.tuples(
        st.just("examples:classify"),
        st.lists(
            st.fixed_dictionaries(
                {}, optional={"x": st.floats(width=32), "name": texts, "count": st.integers(-9, 9)}
            ),
            min_size=1,
            max_size=3,
        ).map(lambda x: {"examples": x}),
    ),
)
posts: st.SearchStrategy[Any] = likely.map(
    lambda pair: ("POST", f"/v1/models/{pair[0]}", {}, json.dumps(pair[1]).encode())
)
changed_posts = st.builds(lambda request, changes: (*request[:3], splice(request[3], changes)), posts, edits)
noise = st.tuples(methods, paths, headers, http_bodies)
# By number, not with `one_of`, which would give each the same share and most requests a right answer.
http_requests = st.integers(0, 5).flatmap(lambda number: (posts, changed_posts, noise)[min(number, 2)])
