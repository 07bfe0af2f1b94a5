"""Chromium, driven by Playwright, as the tests, the pictures and the benchmark of the page see it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MINUTE = 60_000.0
"""Milliseconds that a busy machine may need for a step that takes a moment."""
ANSWERED = """() => document.querySelector("#stop").hidden && !document.querySelector(".stale")
    && (document.querySelector("#result").childElementCount || !document.querySelector("#problem").hidden)"""
"""Whether the page of `tf-mlm page` asks nothing any more, and shows something."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that is found on the PATH; none is downloaded.

    Raises:
        RuntimeError: where there is none.
    """
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("Chromium must be on the PATH. Install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


def open_page(page: Page, url: str) -> None:
    """Goes to an address of the page, fresh, and waits for its answer."""
    page.set_default_timeout(MINUTE)
    page.goto("about:blank")
    page.goto(url)
    page.wait_for_function(ANSWERED)
