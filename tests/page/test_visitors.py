"""Who may ask the page's server."""

from __future__ import annotations

import pytest

from tf_mlm.page.visitors import Visitors


@pytest.mark.parametrize(
    ("listens", "headers"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:8600"}),
        ("127.0.0.1", {"host": "localhost"}),
        ("127.0.0.1", {"host": "LOCALHOST:9000", "origin": "http://localhost:9000"}),
        ("127.0.0.1", {"host": "[::1]:8600", "origin": "http://[::1]:8600", "sec-fetch-site": "same-origin"}),
        ("0.0.0.0", {"host": "192.168.1.7:8600", "origin": "http://192.168.1.7:8600"}),
        ("models.example", {"host": "models.example", "origin": "https://models.example"}),
    ],
)
def test_the_page_itself_is_answered(listens: str, headers: dict[str, str]) -> None:
    assert Visitors(listens).refusal(headers) is None


@pytest.mark.parametrize(
    ("listens", "headers", "words"),
    [
        ("127.0.0.1", {}, "Host of a request must"),
        ("127.0.0.1", {"host": "evil.example:8600"}, "Host of a request must"),
        ("127.0.0.1", {"host": "localhost, evil.example"}, "Host of a request must"),
        ("127.0.0.1", {"host": "localhost.evil.example"}, "Host of a request must"),
        ("127.0.0.1", {"host": "127.0.0.1@evil.example"}, "Host of a request must"),
        ("127.0.0.1", {"host": "192.168.1.7:8600"}, "Host of a request must"),
        ("0.0.0.0", {"host": "rebound.example:8600"}, "Host of a request must"),
        ("127.0.0.1", {"host": "localhost:8600", "origin": "http://evil.example"}, "Origin of a request"),
        ("127.0.0.1", {"host": "localhost:8600", "origin": "http://localhost:3000"}, "Origin of a request"),
        ("127.0.0.1", {"host": "localhost:8600", "origin": "null"}, "Origin of a request"),
        ("127.0.0.1", {"host": "localhost:8600", "sec-fetch-site": "cross-site"}, "Only this page may ask"),
        ("127.0.0.1", {"host": "localhost:8600", "sec-fetch-site": "same-site"}, "Only this page may ask"),
    ],
)
def test_others_are_refused_and_told_why(listens: str, headers: dict[str, str], words: str) -> None:
    refusal = Visitors(listens).refusal(headers)
    assert refusal
    assert words in refusal


def test_a_link_from_another_page_may_be_followed() -> None:
    headers = {"host": "localhost:8600", "sec-fetch-site": "cross-site"}
    assert Visitors("127.0.0.1").refusal(headers, asks=False) is None
