"""The JSON dialect of TF-Serving: values, error texts, offsets."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tf_mlm.serving.errors import ServingError
from tf_mlm.serving.rest.json import reader as json_reader
from tf_mlm.serving.rest.json import scalars

ACCEPTED = {
    b'{"a": 1}': {"a": 1},
    b" \t\r\n[1, 2.5, true, null]": [1, 2.5, True, None],
    b"[Inf, -Infinity, Infinity]": [math.inf, -math.inf, math.inf],
    b'{"a": 1, "a": 2}': {"a": 1},
    b'{"a": 1, "a": 2, "b": Inf}': {"a": 1, "b": math.inf},
    b"[1] and more": [1],
    b"\xef\xbb\xbf[1]": [1],
    b"[18446744073709551615, -9223372036854775808]": [2**64 - 1, -(2**63)],
    b'["\xff"]': ["\udcff"],
    b'["\\ud83d\\ude00"]': ["😀"],
    b'["\\udc80"]': [b"\xed\xb2\x80".decode("utf-8", "surrogateescape")],
    b"[1e2, 1.0]": [100.0, 1.0],
    b'["\\u0041\\n\\/"]': ["A\n/"],
    b"[[], {}, Inf]": [[], {}, math.inf],
}
REJECTED = {
    b"": "The document is empty",
    b"   ": "The document is empty. at offset: 3",
    b"]": "The document is empty. at offset: 0",
    b"[1,]": "Invalid value. at offset: 3",
    b"[1 2]": "Missing a comma or ']' after an array element. at offset: 3",
    b"[1": "Missing a comma or ']' after an array element. at offset: 2",
    b"[01]": "Missing a comma or ']' after an array element. at offset: 2",
    b"{1:2}": "Missing a name for object member. at offset: 1",
    b'{"a":1,}': "Missing a name for object member. at offset: 7",
    b'{"a" 1}': "Missing a colon after a name of object member. at offset: 5",
    b'{"a":1 "b"}': "Missing a comma or '}' after an object member. at offset: 7",
    b"nan": "Invalid value. at offset: 1",
    b"nul": "Invalid value. at offset: 3",
    b"+1": "Invalid value. at offset: 0",
    b".5": "Invalid value. at offset: 0",
    b"-x": "Invalid value. at offset: 1",
    b"1.": "Miss fraction part in number. at offset: 2",
    b"1e": "Miss exponent in number. at offset: 2",
    b"[1e400]": "Number too big to be stored in double. at offset: 1",
    b"[1" + b"0" * 400 + b"]": "Number too big to be stored in double. at offset: 1",
    b"// c\n1": "Invalid value. at offset: 0",
    b"'a'": "Invalid value. at offset: 0",
    b'"abc': "Missing a closing quotation mark in string. at offset: 4",
    b'"\\x"': "Invalid escape character in string. at offset: 1",
    b'"\\u12g4"': "Incorrect hex digit after \\u escape in string. at offset: 1",
    b'"\\ud800"': "The surrogate pair in string is invalid. at offset: 1",
    b'["\xc3\xa9", x]': "Invalid value. at offset: 7",
    b"\xef\xbb\xbf[x]": "Invalid value. at offset: 4",
}


@pytest.mark.parametrize(("body", "value"), ACCEPTED.items())
def test_accepts(body: bytes, value: object) -> None:
    assert json_reader.parse(body) == value


@pytest.mark.parametrize(("body", "message"), REJECTED.items())
def test_rejects(body: bytes, message: str) -> None:
    with pytest.raises(ServingError) as error:
        json_reader.parse(body)
    assert error.value.message == f"JSON Parse error: {message}"


def test_raw_control_characters_are_rejected() -> None:
    with pytest.raises(ServingError, match="offset: 1"):
        json_reader.parse(b'"\x01"')


def test_nan_in_every_spelling() -> None:
    values = json_reader.parse(b"[NaN, -NaN]")
    assert all(math.isnan(value) for value in values)


def test_integers_beyond_uint64_are_doubles() -> None:
    value = json_reader.parse(b"[18446744073709551616, Inf]")[0]
    assert isinstance(value, float)
    assert not scalars.is_integer(json_reader.parse(b"18446744073709551616"))


def test_half_a_million_levels() -> None:
    depth = 500_000
    value = json_reader.parse(b'{"deep": ' + b"[" * depth + b"]" * depth + b', "x": 1}')
    assert value["x"] == 1
    inner = value.pop("deep")
    while inner:  # taken apart by hand: letting go of it all at once would recurse
        inner = inner.pop()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_both_parsers_agree_on_plain_json(value: object) -> None:
    text = json.dumps(value)
    assert json_reader.parse(text.encode()) == json_reader._parse(text) == value


@given(
    st.binary(max_size=60)
    | st.text(alphabet='{}[]",:0123456789.eE+-ntfInaN\\u \n', max_size=40).map(str.encode)
)
@settings(max_examples=500, deadline=None)
@example(b'{"":"')
@example(b"[-")
def test_any_bytes_give_a_value_or_an_error(body: bytes) -> None:
    with contextlib.suppress(ServingError):
        json_reader.parse(body)


# ---- long bodies, which are read in pieces ---------------------------------------------------------


def long(*items: bytes) -> bytes:
    """The items over and over, as a list longer than any piece."""
    block = b", ".join(items)
    return b"[" + b", ".join([block] * (300_000 // len(block))) + b"]"


@given(
    st.lists(VALUES, min_size=1, max_size=5), st.integers(0, 3), st.sampled_from([(",", ":"), (", ", ": ")])
)
@settings(max_examples=25, deadline=None)
@example([[1.5] * 700, {"a": [[[2] * 9]]}, "x" * 3000], 1, (",", ":"))
@example(["a, b], c", [["], ["]], {"}, {": "], "}], 0, (",", ":"))
def test_long_bodies_are_read_as_json_reads_them(items: list, depth: int, separators: tuple) -> None:
    value: object = items * (1 + 200_000 // len(json.dumps(items)))
    for _ in range(depth):
        value = {"x": [value, 1]}
    text = json.dumps(value, separators=separators)
    assert json_reader.parse(text.encode()) == value


@pytest.mark.parametrize(
    ("items", "values"),
    [
        ([b"1", b"-Inf", b"2"], [1, -math.inf, 2]),
        ([b"1e2", b"18446744073709551616", b"1.0"], [100.0, 2.0**64, 1.0]),
        ([b'"\\ud83d\\ude00"', b'"\\\\ud83d\\\\ude00"'], ["😀", "\\ud83d\\ude00"]),
        ([b'"\\udc80"'], [b"\xed\xb2\x80".decode("utf-8", "surrogateescape")]),
        ([b'["\xff"]', b'{"a": 1, "a": 2}'], [["\udcff"], {"a": 1}]),
        ([b"[true, null ,false\n]", b"[[] , {}]"], [[True, None, False], [[], {}]]),
    ],
)
def test_long_bodies_have_the_same_dialect(items: list[bytes], values: list) -> None:
    read = json_reader.parse(long(*items))
    assert read == values * (len(read) // len(values))
    assert [type(value) for value in read[: len(values)]] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("item", "offset"), [(b"01", 1), (b"1.", 2), (b"1e400", 0), (b'"\\ud800"', 1), (b"x", 0)]
)
def test_errors_of_long_bodies_have_the_same_offsets(item: bytes, offset: int) -> None:
    good = long(b"[1, 2]", b'"a"', b"3")[:-1]
    with pytest.raises(ServingError, match=f"at offset: {len(good) + 2 + offset}$"):
        json_reader.parse(good + b", " + item + b"]")


def test_an_escaped_backslash_between_surrogates_makes_them_no_pair() -> None:
    with pytest.raises(ServingError, match="surrogate pair in string is invalid"):
        json_reader.parse(b'{"a": "\\ud83d\\\\\\ude00"}')


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": [' + b"0," * 1000 + b"0]}",
        b'{"x": [' + b"[]," * 130 + b"0]}",
        b'{"x": ' + b"[" * 130 + b"]" * 130 + b"}",
        b'{"x": [' + b'{"a":1},' * 130 + b"0]}",
        b"{" + b",".join(b'"%d":0' % number for number in range(1000)) + b"}",
        b'{"x": [' + b'"",' * 1000 + b'""]}',
    ],
)
def test_more_values_than_are_taken(body: bytes) -> None:
    assert json_reader.parse(body, 1200)
    with pytest.raises(ServingError, match=r"more than 1000 JSON values \(--rest_max_json_values\)"):
        json_reader.parse(body, 1000)


@pytest.mark.parametrize("item", [b"0.25", b"[1, 2]", b'"text"', b'{"a": 1}', b'"\\ud83d\\ude00"'])
def test_others_run_while_a_long_body_is_read(item: bytes) -> None:
    ticks, done = 0, threading.Event()
    body = b'{"x": [' + b",".join([long(item)] * 8) + b"]}"

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0)

    ticker = threading.Thread(target=tick)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        ticker.start()
        before = ticks
        json_reader.parse(body)
        after = ticks
    finally:
        done.set()
        sys.setswitchinterval(interval)
    ticker.join()
    assert after - before > 20  # one C call for all would let it run a few times


@pytest.mark.parametrize(
    "tail", ["\\ud83d\\ude00", "\\\\ud83d", "\\\\\\ud83d\\ude00", "\\u0041", "\\n", "\\\\"]
)
def test_escapes_where_a_long_string_is_cut(tail: str) -> None:
    for more in range(14):
        text = '{"x": "' + "x" * (65_530 + more) + tail * 3 + '"}'
        assert json_reader.parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize("item", [b"\\udc80", b"\\udc80\xff", b"\\n\\udcff"])
def test_lone_low_surrogates_become_their_bytes_however_many(item: bytes) -> None:
    value = json_reader.parse(b'{"x": "' + item * 30_000 + b'"}')["x"]
    expected = (
        item.replace(b"\\udc80", b"\xed\xb2\x80").replace(b"\\udcff", b"\xed\xb3\xbf").replace(b"\\n", b"\n")
    )
    assert value.encode("utf-8", "surrogateescape") == expected * 30_000
