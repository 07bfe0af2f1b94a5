"""The pictures of the page, taken of a tiny model and as they are in the manual."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pictures
from chromium import chromium
from tf_mlm.page.model import PageModel
from tf_mlm.page.server import PageServer
from tf_mlm.target.open import open_target

if TYPE_CHECKING:
    from tf_mlm.model.masked_lm import MaskedLM


def test_the_manuals_pictures_are_small_and_all_there() -> None:
    found = {path.stem: path.stat().st_size for path in pictures.FOLDER.glob("page-*")}
    assert found.keys() == pictures.PICTURES.keys()
    assert sum(found.values()) < pictures.MOST_BYTES


@pytest.mark.browser
def test_a_picture_is_taken(tiny_model: MaskedLM, tmp_path: Path) -> None:
    from PIL import Image

    import tf_mlm

    tf_mlm.save(tiny_model, tmp_path)
    model = PageModel("tiny", open_target(str(tmp_path), 25, bounded=True), "directory")
    with PageServer([model], port=0) as server, chromium() as browser:
        picture = Image.open(io.BytesIO(pictures.take(browser, server.url, "page-tokens")))
    assert picture.width == 1.5 * pictures.PICTURES["page-tokens"][1]
    assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100  # it shows something
