"""Section 4.3 and the dtypes of 4.4: the JSON dialect, and which JSON becomes which dtype."""

from __future__ import annotations

import base64
import math
from typing import Any

from conformance.case import Needs, Section
from conformance.expectations import close, equal
from conformance.rest import M, answers, echo, refuses
from conformance.server import Server

dialect = Section("4.3 JSON dialect", Needs.SERVER)
dtypes = Section("4.4 Dtypes in JSON", Needs.SERVER)

# title → body for `dtypes`, predictions.
ACCEPTED: dict[str, tuple[str | bytes, list[Any]]] = {
    "a byte order mark": (b'\xef\xbb\xbf{"instances": [1.0]}', [1.0]),
    "text after the value": ('{"instances": [1.0]} and so on', [1.0]),
    "a second value after the first": ('{"instances": [1.0]}{"instances": [2.0]}', [1.0]),
    "white space everywhere": (' \n\t{ "instances" :\r\n[ 1.0 , 2.0 ] } \n', [1.0, 2.0]),
    "unknown keys": ('{"other": {"a": [null]}, "instances": [1.0]}', [1.0]),
    "a repeated key: the first one counts": ('{"instances": [1.0], "instances": [2.0]}', [1.0]),
    "escapes in keys": ('{"\\u0069nstances": [1.0]}', [1.0]),
    "integers, decimals and exponents for floats": (
        '{"instances": [1, 1.0, 1e0, 10E-1, -0.0]}',
        [1.0, 1.0, 1.0, 1.0, -0.0],
    ),
    "integers beyond uint64 for floats": ('{"instances": [100000000000000000000]}', [1e20]),
}
dialect.each(
    ACCEPTED,
    lambda server, body, expected: answers(server, "dtypes:predict", body, {"predictions": expected}),
    "accepted: {}",
)


@dialect.case("accepted: NaN, Inf and Infinity, each with a minus")
def _(server: Server) -> None:
    reply = server.post(f"{M}/dtypes:predict", '{"instances": [NaN, -NaN, Inf, -Inf, Infinity, -Infinity]}')
    equal(reply.status, 200, f"HTTP status (body {reply.text[:200]!r})")
    close(reply.json["predictions"], [math.nan, math.nan, math.inf, -math.inf, math.inf, -math.inf])


@dialect.case("accepted: 500,000 levels of nesting in a key that is ignored")
def _(server: Server) -> None:
    deep = "[" * 500_000 + "]" * 500_000
    answers(server, "dtypes:predict", f'{{"other": {deep}, "instances": [1.0]}}', {"predictions": [1.0]})


@dialect.case("accepted: 500,000 levels as signature_name give the usual error")
def _(server: Server) -> None:
    deep = "[" * 500_000 + "]" * 500_000
    refuses(
        server,
        "dtypes:predict",
        f'{{"signature_name": {deep}, "instances": [1.0]}}',
        "'signature_name' key must be a string value.",
    )


# body → what the parse error says.
PARSE_ERRORS: dict[str, str] = {
    "": "The document is empty",
    "   ": "The document is empty",
    '{"instances": [1,]}': "Invalid value. at offset: 17",
    '{"instances": [1 2]}': "Missing a comma or ']' after an array element. at offset: 17",
    "{'instances': [1]}": "Missing a name for object member. at offset: 1",
    "{instances: [1]}": "Missing a name for object member. at offset: 1",
    '{"instances" [1]}': "Missing a colon after a name of object member. at offset: 13",
    '{"instances": [1] "b": 2}': "Missing a comma or '}' after an object member. at offset: 18",
    '{"instances": [1]': "Missing a comma or '}' after an object member.",
    '{"instances": [1': "Missing a comma or ']' after an array element.",
    '{"instances": ["a': "Missing a closing quotation mark in string.",
    '{"instances": [+1]}': "Invalid value. at offset: 15",
    '{"instances": [.5]}': "Invalid value. at offset: 15",
    '{"instances": [1.]}': "fraction part in number.",
    '{"instances": [1e]}': "exponent in number.",
    '{"instances": [nan]}': "Invalid value.",
    '{"instances": [True]}': "Invalid value.",
    '{"instances": [1e400]}': "Number too big to be stored in double.",
    '{"instances": ["\\ud800"]}': "The surrogate pair in string is invalid.",
    '{"instances": ["\\q"]}': "Invalid escape character in string.",
    '{"instances": ["a\nb"]}': "",
    '/* comment */ {"instances": [1]}': "Invalid value. at offset: 0",
    '{"instances": [1 /* comment */]}': "Missing a comma or ']' after an array element.",
}
for _number, (_body, _text) in enumerate(PARSE_ERRORS.items()):
    dialect.add(
        f"rejected {_number}: {_body or 'nothing'!r}",
        lambda server, body=_body, text=_text: refuses(
            server, "dtypes:predict", body, "JSON Parse error: ", text
        ),
    )

for _body in ("[1.0]", '"text"', "1", "null"):
    dialect.add(
        f"the top level must be an object: {_body}",
        lambda server, body=_body: refuses(
            server, "dtypes:predict", body, f"JSON Value: {body} Is not object"
        ),
    )


@dialect.case("strings are bytes: UTF-8, escapes, and bytes that are no UTF-8")
def _(server: Server) -> None:
    texts = b'["\xc3\xa4", "\\u00e4", "\\ud83d\\ude00", "\xff\xfe", "a\\u0000b"]'
    body = b'{"signature_name": "bytes", "instances": ' + texts + b"}"
    reply = server.post(f"{M}/strings:predict", body)
    equal(reply.status, 200, f"HTTP status (body {reply.text[:200]!r})")
    values = [base64.b64decode(item["b64"]) for item in reply.json["predictions"]]
    equal(values, ["ä".encode(), "ä".encode(), "😀".encode(), b"\xff\xfe", b"a\0b"], "bytes")


# ---- dtypes --------------------------------------------------------------------------------------

# signature → instances as JSON text, predictions as JSON values.
CONVERTED: dict[str, tuple[str, list[Any]]] = {
    "float32": ("[1, 2.5, 1435774380, 1435774380.0]", [1.0, 2.5, 1.43577434e09, 1.43577434e09]),
    "float64": ("[1, 2.5, 0.1, 1e308]", [1.0, 2.5, 0.1, 1e308]),
    "int32": ("[-2147483648, 2147483647]", [-(2**31), 2**31 - 1]),
    "int64": ("[-9223372036854775808, 9223372036854775807]", [-(2**63), 2**63 - 1]),
    "uint32": ("[0, 4294967295]", [0, 2**32 - 1]),
    "uint64": ("[0, 18446744073709551615]", [0, 2**64 - 1]),
    "bool": ("[true, false]", [True, False]),
    "string": ('["", "text", {"b64": "dGV4dA=="}]', ["", "text", "text"]),
}
dtypes.each(
    {signature: (signature, *row) for signature, row in CONVERTED.items()},
    lambda server, signature, instances, expected: answers(
        server, "dtypes:predict", echo(signature, instances), {"predictions": expected}
    ),
    "{}: the values it takes",
)

# (signature, value as JSON) that is refused with a type error naming the dtype.
WRONG_TYPES = [
    ("float32", '"1"', "String", "float"),
    ("float64", "true", "True", "double"),
    ("int32", "1.0", "Number", "int32"),
    ("int32", "2147483648", "Number", "int32"),
    ("int32", "-2147483649", "Number", "int32"),
    ("int64", "1e2", "Number", "int64"),
    ("int64", "9223372036854775808", "Number", "int64"),
    ("uint32", "-1", "Number", "uint32"),
    ("uint32", "4294967296", "Number", "uint32"),
    ("uint64", "-1", "Number", "uint64"),
    ("uint64", "18446744073709551616", "Number", "uint64"),
    ("bool", "1", "Number", "bool"),
    ("bool", '"true"', "String", "bool"),
    ("string", "true", "True", "string"),
    ("string", "null", "Null", "string"),
]
dtypes.each(
    {f"{signature}: refuses {value}": (signature, value, *more) for signature, value, *more in WRONG_TYPES},
    lambda server, signature, value, kind, dtype: refuses(
        server,
        "dtypes:predict",
        echo(signature, f"[{value}]"),
        f"Type: {kind} is not of expected type: {dtype}",
    ),
)


@dtypes.case("float32: beyond the largest become infinite, below the smallest become zero")
def _(server: Server) -> None:
    reply = server.post(f"{M}/dtypes:predict", echo("float32", "[1e308, -1e308, 1e-308, -1e-308]"))
    equal(reply.json["predictions"], [math.inf, -math.inf, 0.0, -0.0], "predictions")


@dtypes.case("int16, int8 and uint8: tokens within int32, then wrapped")
def _(server: Server) -> None:
    body = {"signature_name": "int32", "instances": [1]}
    answers(server, "dtypes:predict", body, {"predictions": [1]})
    for signature, value, wrapped in (
        ("int16", 32768, -32768),
        ("int8", 300, 44),
        ("uint8", 256, 0),
        ("uint8", -1, 255),
    ):
        answers(
            server,
            "dtypes:predict",
            {"signature_name": signature, "inputs": [value]},
            {"outputs": [wrapped]},
        )
    refuses(server, "dtypes:predict", echo("int8", "[2147483648]"), "is not of expected type: int8")


for _signature in ("uint16", "float16", "bfloat16", "complex64"):

    @dtypes.case(f"{_signature}: not supported; 501 in columnar form, 400 in row form")
    def _(server: Server, signature: str = _signature) -> None:
        text = "Conversion of JSON Value: 1 to type: "
        refuses(server, "dtypes:predict", {"signature_name": signature, "inputs": [1]}, text, status=501)
        refuses(server, "dtypes:predict", {"signature_name": signature, "instances": [1]}, text)


SECTIONS = (dialect, dtypes)
