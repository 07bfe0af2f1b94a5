"""The pictures of the page in the README and the manual, taken in Chromium."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from chromium import chromium, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
HEIGHT = 1100
_END = """(most) => {
    const ends = [...document.querySelectorAll("#result > *")]
        .map((part) => part.getBoundingClientRect().bottom + scrollY + 9);
    return Math.max(...ends.filter((end) => end <= most), Math.min(ends[0], most));
}"""
MOST_BYTES = 400_000
"""Of all pictures together."""
FILL = "Returns the [MASK] of the list, or raises a [MASK] if it is empty."
PARAGRAPH = (
    "Return a new array of given shape and type, filled with zeros. If the file does not exist, an error is "
    "raised. The quick brown octopus argues with an umbrella 🐙. Compute the mean of elements along an axis."
)
# Name → what the page shows, the width of the screen, its theme.
PICTURES: dict[str, tuple[dict[str, Any], int, str]] = {
    "page-fill": ({"v": "fill", "t": FILL, "k": 5}, 1080, "light"),
    "page-surprise": ({"v": "surprise", "t": PARAGRAPH}, 1080, "light"),
    "page-compare": (
        {
            "v": "compare",
            "n": 0,
            "t": "Return the length of the list.",
            "u": "Return the weather of the list.",
        },
        1080,
        "dark",
    ),
    "page-tokens": ({"v": "tokens", "t": "Unhashable types raise a TypeError 🙂."}, 420, "light"),
}


def take(browser: Browser, url: str, name: str) -> bytes:
    """One picture as WebP.

    Args:
        browser: Chromium.
        url: of the page.
        name: one of `PICTURES`.
    """
    from PIL import Image

    state, width, theme = PICTURES[name]
    scheme: Any = theme
    page = browser.new_page(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
        device_scale_factor=1.5,
    )
    for _ in range(2):  # the first answer of a process takes longer than any other
        open_page(page, f"{url}#{urlencode(state)}")
    if state["v"] == "surprise":
        page.locator(".heat .piece").nth(2).hover()
        page.wait_for_selector(".inspector .fills")
    # Without what only a reader at the page needs: what it takes to ask elsewhere, and the keys.
    clip: Any = {"x": 0, "y": 0, "width": width, "height": page.evaluate(_END, HEIGHT)}
    png = page.screenshot(full_page=True, clip=clip)
    page.close()
    picture = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(picture, "WEBP", quality=82, method=6)
    return picture.getvalue()


@click.command("pictures")
@click.argument("target")
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(target: str, output: Path) -> None:
    """Take the pictures of TARGET's page, such as the demo's model.

    Example: tools/pictures demo/model
    """
    from tf_mlm.page.model import PageModel
    from tf_mlm.page.server import PageServer
    from tf_mlm.target.open import open_target

    output.mkdir(parents=True, exist_ok=True)
    model = PageModel(target, open_target(target, 25, bounded=True), "directory")
    model.warm_up()
    with PageServer([model], port=0) as server, chromium() as browser:
        for name in PICTURES:
            picture = take(browser, server.url, name)
            (output / f"{name}.webp").write_bytes(picture)
            click.echo(f"{name}.webp: {len(picture):,} bytes")
