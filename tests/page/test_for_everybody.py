"""Every view for everybody: axe finds nothing, in light and in dark, on wide and narrow screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tf_mlm.page.server import PageServer

if TYPE_CHECKING:
    from page.conftest import Look

pytestmark = pytest.mark.browser
VIEWS = {
    "empty": {"v": "fill"},
    "fill": {"v": "fill", "t": "the [MASK] sat on the [MASK] ."},
    "targets": {"v": "fill", "t": "the [MASK] .", "w": "dog, cats"},
    "surprise": {"v": "surprise", "t": "The cat sat on a zebra , fast . " * 10},
    "compare": {"v": "compare", "n": 1, "t": "the cat sat .", "u": "a dog sat ."},
    "compared fills": {"v": "compare", "s": 1, "t": "the [MASK] sat ."},
    "tokens": {"v": "tokens", "t": "the cats 東京 sat ."},
    "problem": {"v": "fill", "t": "the cat " * 62 + "[MASK]"},
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.filterwarnings("ignore::tf_mlm.ReplacedTargetWarning")
def test_axe_finds_nothing(look_at: Callable[..., Look], served: PageServer, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    look = look_at(served.url, color_scheme=theme, reduced_motion="reduce")
    for name, state in VIEWS.items():
        look.open(**state)
        if name == "surprise":
            look.page.locator(".heat .piece").nth(1).focus()
            look.page.wait_for_selector(".inspector .fills")
            look.page.click("text=The same as a table")
        if name != "empty" and name != "problem":
            look.page.click("text=Raw request and response")
        found = axe.run(look.page)
        assert found.violations_count == 0, f"{name}, {theme}: {found.generate_report()}"
        assert incomplete(found.response) == [], f"{name}, {theme}"
    look.page.keyboard.press("Alt+r")
    found = axe.run(look.page)
    assert found.violations_count == 0, found.generate_report()


def incomplete(response: dict[str, Any]) -> list[str]:
    """Elements whose contrast axe could not judge, but for signs such as a full stop, which it never does."""
    return [
        f"{node['html']}: {reason['message']}"
        for entry in response["incomplete"]
        for node in entry["nodes"]
        for reason in node["any"]
        if entry["id"] == "color-contrast"
        and (reason["data"] or {}).get("messageKey") not in ("nonBmp", "shortTextContent")
    ]


@pytest.mark.parametrize("name", ["fill", "surprise", "compare", "tokens"])
def test_a_narrow_screen_needs_no_scrolling_sideways(
    look_at: Callable[..., Look], served: PageServer, name: str
) -> None:
    look = look_at(served.url, viewport={"width": 320, "height": 600})
    look.open(**VIEWS[name])
    for spacing in ("normal", ".1em", ".25em"):  # fonts differ in width from one machine to the next
        look.page.evaluate("spacing => document.documentElement.style.letterSpacing = spacing", spacing)
        assert look.page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    look_at: Callable[..., Look], served: PageServer
) -> None:
    look = look_at(served.url)
    look.open(**VIEWS["fill"])
    seen = []
    for _ in range(40):
        look.page.keyboard.press("Tab")
        at = look.page.evaluate(
            """() => {
                const element = document.activeElement, style = getComputedStyle(element);
                const shown = style.outlineStyle !== "none" || element.closest(".segments");
                return [element.id || element.className || element.textContent, Boolean(shown)];
            }"""
        )
        if look.page.evaluate("document.activeElement === document.body"):
            break
        seen.append(at)
    reached = [name for name, _ in seen]
    assert {
        "text-a",
        "top-k",
        "targets",
        "add-mask",
        "ask",
        "piece",
        "history-open",
        "theme",
        "snippet",
    } <= set(reached)
    assert all(shown for _, shown in seen), seen


def test_motion_is_only_for_those_who_want_it(look_at: Callable[..., Look], served: PageServer) -> None:
    for motion in ("reduce", "no-preference"):
        look = look_at(served.url, reduced_motion=motion)
        look.open(**VIEWS["fill"])
        names = look.page.evaluate("getComputedStyle(document.querySelector('.slot')).animationName")
        assert (names == "none") == (motion == "reduce")
