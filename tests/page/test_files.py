"""What the browser is sent: little, and nothing from elsewhere."""

from __future__ import annotations

import re

import pytest

from tf_mlm.page.files import HEADERS, files

FILES = {path: file for path, file in files().items() if path != "/"}


def test_the_page_is_light() -> None:
    assert sum(len(file.body) for file in FILES.values()) < 150_000


@pytest.mark.parametrize("path", sorted(FILES))
def test_a_file_names_no_other_host(path: str) -> None:
    text = FILES[path].body.decode()
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, which nobody fetches


@pytest.mark.parametrize("path", sorted(path for path in FILES if path.endswith(".js")))
def test_a_script_makes_no_html_of_texts(path: str) -> None:
    text = FILES[path].body.decode()
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.search(ways, text)
    assert len(text.splitlines()) <= 300


def test_every_module_is_there_and_used() -> None:
    """From the two scripts of the page to all others."""
    html = FILES["/index.html"].body.decode()
    waiting, seen = re.findall(r'<script[^>]* src="([^"]+)"', html), set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += re.findall(r'from "\./([^"]+)"', FILES[f"/{name}"].body.decode())
    assert seen == {path[1:] for path in FILES if path.endswith(".js")}
    # All are fetched at once: a module that is first heard of from another one would wait for that.
    early = set(re.findall(r'<link rel="modulepreload" href="([^"]+)"', html))
    assert early == seen - {"main.js", "theme.js"}


def test_the_browser_is_bound() -> None:
    policy = dict(HEADERS)["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
