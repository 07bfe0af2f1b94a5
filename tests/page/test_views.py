"""The views in a real browser: what each shows, by mouse and by keyboard."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from reference.page_texts import TORTURE

from chromium import ANSWERED
from tf_mlm.page.api import TEXT_BYTES

if TYPE_CHECKING:
    from page.conftest import Look

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::tf_mlm.ReplacedTargetWarning")]
TEXT = "the cat sat on the mat ."
# The text of an element in runs, and whether each is a token.
RUNS = """(where) => {
    const walker = document.createTreeWalker(document.querySelector(where), NodeFilter.SHOW_TEXT);
    const runs = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        runs.push([node.data, Boolean(node.parentElement.closest(".piece"))]);
    }
    return runs;
}"""


def open_by_keyboard(look: Look, view: str, text: str) -> None:
    """From an empty page to a view's answer without the mouse."""
    look.open(v="fill")
    look.page.keyboard.press(f"Alt+{('fill', 'surprise', 'compare', 'tokens').index(view) + 1}")
    look.page.keyboard.press("Tab")
    look.page.locator("#skip").focus()
    look.page.keyboard.press("Enter")
    look.page.keyboard.insert_text(text)
    look.page.keyboard.press("Control+Enter")
    look.answered()


# ---- fill ----------------------------------------------------------------------------------------


def test_a_click_masks_a_token_and_another_takes_it_back(look: Look) -> None:
    look.open(v="fill", t=TEXT)
    look.page.locator(".piece", has_text="sat").click()
    look.page.wait_for_selector(".slot")
    look.answered()
    assert look.page.input_value("#text-a") == "the cat [MASK] on the mat ."
    assert look.page.locator(".fills tbody tr").count() == 5
    shown = look.page.locator(".slot").inner_text()
    assert shown == look.page.locator(".fills tr:has(:checked) .names span").first.inner_text()
    look.page.locator(".slot").click()
    look.page.wait_for_selector(".slot", state="detached")
    assert look.page.input_value("#text-a") == TEXT


def test_enter_masks_the_token_that_has_the_focus(look: Look) -> None:
    open_by_keyboard(look, "fill", TEXT)
    look.page.locator("#sentence .piece").first.focus()
    for key in ("ArrowRight", "End", "ArrowLeft", "Home", "ArrowRight", "Enter"):
        look.page.keyboard.press(key)
    look.page.wait_for_selector(".slot")
    assert look.page.input_value("#text-a") == "the [MASK] sat on the mat ."
    look.answered()
    # The focus stays where it was, and Space takes the mask back.
    assert look.page.evaluate("document.activeElement.className") == "slot"
    look.page.keyboard.press("Space")
    look.page.wait_for_selector(".slot", state="detached")
    assert look.page.input_value("#text-a") == TEXT


def test_several_masks_have_candidates_of_their_own(look: Look) -> None:
    look.open(v="fill", t="the [MASK] sat on the [MASK] .", k=3)
    assert look.all("#result caption")[1].startswith("Mask 2")
    assert look.page.locator(".fills tbody tr").count() == 6
    first, other = look.all(".slot")
    # By mouse in the one, by keyboard in the other.
    look.page.locator(".fills").nth(0).locator("label").nth(2).click()
    look.page.locator(".fills").nth(1).locator("input").nth(0).focus()
    look.page.keyboard.press("ArrowDown")
    chosen = [card.locator(":checked").input_value() for card in look.page.locator(".fills").all()]
    assert chosen == ["2", "1"]
    now = look.all(".slot")
    assert now[0] != first
    assert now[1] != other
    look.page.get_by_role("button", name="Copy the filled text").click()
    words = [re.sub(r"\d$", "", word) for word in now]
    copied = look.page.evaluate("navigator.clipboard.readText()")
    assert all(word in copied for word in words)
    assert "[MASK]" not in copied
    assert copied in look.text("#announce")


def test_only_some_words_and_as_many_as_are_wanted(look: Look) -> None:
    look.open(v="fill", t="the [MASK] .")
    look.page.fill("#targets", "dog, cats")
    look.page.keyboard.press("Enter")
    look.page.wait_for_selector(".note.strong")
    assert "“cats” is not one token" in look.text(".note.strong")
    assert sorted(look.all(".fills .names")) == ["cat", "dog"]
    look.page.fill("#targets", "")
    look.page.fill("#top-k", "50")
    look.page.keyboard.press("Enter")
    look.page.wait_for_selector("text=This model gives 21 fills")
    assert look.page.locator(".fills tbody tr").count() == 21


def test_a_mask_at_the_cursor_is_the_models_own(look: Look) -> None:
    look.open(v="fill", m=1, t="a dog runs")
    look.page.evaluate("document.querySelector('#text-a').setSelectionRange(2, 5)")
    look.page.keyboard.press("Alt+m")
    look.page.wait_for_selector(".slot")
    assert look.page.input_value("#text-a") == "a <mask> runs"
    look.page.locator(".slot").click()  # what was selected comes back
    look.page.wait_for_selector(".slot", state="detached")
    assert look.page.input_value("#text-a") == "a dog runs"


def test_what_is_written_is_asked_about_by_itself(look: Look) -> None:
    look.open(v="fill")
    look.page.locator("#text-a").press_sequentially("the [MASK]")
    look.page.wait_for_selector(".slot")
    assert look.page.locator(".fills").count() == 1


# ---- surprise ------------------------------------------------------------------------------------


def test_a_text_is_coloured_by_bits(look: Look) -> None:
    look.open(v="surprise", t=TEXT)
    totals = dict(zip(look.all(".figures dt"), look.all(".figures dd"), strict=True))
    assert totals["tokens scored"] == "7"
    bits = float(totals["bits in all"])
    assert float(totals["bits per token"]) == pytest.approx(bits / 7, abs=0.01)
    assert float(totals["bits per character"]) == pytest.approx(bits / len(TEXT), abs=0.01)
    look.page.get_by_text("The same as a table").click()
    look.page.wait_for_selector(".scroll tbody tr:nth-child(7)")
    cells = [row.locator("td").all_text_contents() for row in look.page.locator(".scroll tbody tr").all()]
    assert [cell[1] for cell in cells] == TEXT.split()
    assert sum(float(cell[2]) for cell in cells) == pytest.approx(bits, abs=0.05)
    # Besides its colour each level has a line and a name of its own.
    lines = look.page.evaluate(
        """() => [...document.querySelectorAll(".legend span")].map((span) => {
            const style = getComputedStyle(span);
            return style.borderBottomStyle + style.borderBottomWidth;
        })"""
    )
    assert len(set(lines)) == len(lines) == 5


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_token_shows_what_was_expected_there(look: Look, by: str) -> None:
    if by == "mouse":
        look.open(v="surprise", t=TEXT)
        look.page.locator(".heat .piece", has_text="sat").hover()
    else:
        open_by_keyboard(look, "surprise", TEXT)
        look.page.locator(".heat .piece").first.focus()
        look.page.keyboard.press("ArrowRight")
        look.page.keyboard.press("ArrowRight")
    look.page.wait_for_selector(".inspector .fills")
    assert look.text(".inspector h2") == "sat"
    assert re.search(
        r"sat [\d.]+ bits, .*%: (expected|plausible|unusual|surprising|ast)", look.text(".inspector")
    )
    look.page.get_by_role("button", name="Mask it in Fill").press("Enter")
    look.page.wait_for_selector(".slot")
    assert look.page.input_value("#text-a") == "the cat [MASK] on the mat ."
    assert look.text("#title") == "Fill"


def test_a_long_text_is_cut_at_ends_of_sentences(look: Look) -> None:
    sentence = "The cat sat on a mat , the dog ran fast . "
    text = sentence * 12 + "The " * 80
    look.open(v="surprise", t=text)
    names = look.all(".windowname")
    assert len(names) == 5
    assert names[0].startswith("Window 1 of 5")
    parts = ["".join(part.removeprefix(name)) for part, name in zip(look.all(".window"), names, strict=True)]
    assert "".join(parts) == text
    assert parts[0] == sentence * 5
    assert all(len(part.split()) <= 62 for part in parts)
    assert dict(zip(look.all(".figures dt"), look.all(".figures dd"), strict=True))["tokens scored"] == "224"


# ---- places of tokens ----------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["surprise", "tokens", "fill"])
@pytest.mark.parametrize("model", [0, 1])
def test_tokens_stand_at_their_characters(look: Look, http: httpx.Client, view: str, model: int) -> None:
    """Every token's bytes lie in one stretch, and no stretch cuts what a reader takes for a character."""
    text = "".join(TORTURE)
    look.open(v=view, m=model, t=text)
    where = "#sentence" if view == "fill" else ".heat"
    runs = look.page.evaluate(RUNS, where)
    assert "".join(run for run, _ in runs) == text
    edges, stretches, at = {0}, [], 0
    for character in TORTURE[:-1]:
        edges.add(max(edges) + len(character.encode()))
    edges |= set(range(max(edges), len(text.encode()) + 1))  # the last words are plain
    joined = text.encode().index("x\u0301".encode()) + 1
    edges.discard(joined)  # one of the characters above is a mark of the one before
    for run, is_piece in runs:
        if is_piece:
            stretches.append((at, at + len(run.encode())))
        at += len(run.encode())
    assert {edge for stretch in stretches for edge in stretch} <= edges
    tokens = http.post("/api/tokenize", json={"text": text, "model": model}).json()["tokens"]
    places = zip(tokens["starts"], tokens["ends"], strict=True)
    for start, end in places:
        if end > start:
            assert sum(first <= start and end <= last for first, last in stretches) == 1, (start, end)


def test_tokens_are_listed_with_ids_and_places(look: Look) -> None:
    open_by_keyboard(look, "tokens", "the cats 東 .")
    rows = [row.locator("td").all_text_contents() for row in look.page.locator("#result tbody tr").all()]
    assert [row[2] for row in rows] == ["[CLS]", "the", "cat", "##s", "[UNK]", ".", "[SEP]"]
    assert rows[0][3] == "added"
    assert rows[4][3:] == ["東", "9–12", "9–10"]
    look.page.locator(".piece", has_text="東").hover()
    assert look.page.locator("tr[data-now] td").nth(2).inner_text() == "[UNK]"
    look.page.locator(".piece").first.focus()
    look.page.keyboard.press("End")
    assert look.page.locator("tr[data-now] td").nth(2).inner_text() == "."


# ---- compare -------------------------------------------------------------------------------------


def test_two_texts_are_compared(look: Look) -> None:
    look.open(v="compare", n=0, t="the cat sat .", u="the dog sat .")
    assert look.all(".differs") == ["cat", "dog"]
    assert re.fullmatch(r"[AB] surprises less than [AB]: .* bits per character\.", look.text("#verdict"))
    words = look.page.locator("table", has_text="Words that differ most").locator("tbody tr")
    assert {"cat", "—", "dog"} <= set(words.locator("td").all_text_contents())


def test_two_models_are_compared_on_the_same_text(look: Look) -> None:
    open_by_keyboard(look, "compare", "the [MASK] sat .")
    assert look.all("#result h2") == ["A: words", "B: bytes"]
    assert look.page.locator(".fills").count() == 2  # each model's own mask is in its text
    assert "only here" in look.all(".fills .tag")
    look.page.fill("#text-a", "the cat sat .")
    look.page.keyboard.press("Control+Enter")
    look.page.wait_for_selector("#verdict")
    tokens = look.page.locator("table", has_text="In numbers").locator("tr", has_text="tokens scored")
    assert tokens.locator("td").nth(1).inner_text() == "4"


# ---- take it away --------------------------------------------------------------------------------


def test_the_state_lives_in_the_address(look: Look) -> None:
    look.open(v="fill", t="the [MASK] .", k=2)
    look.page.click("text=Tokens")
    look.answered()
    look.page.click("text=Surprise")
    look.answered()
    address = look.page.url
    look.page.go_back()
    look.page.wait_for_function("() => document.querySelector('#title').textContent === 'Tokens'")
    look.page.go_back()
    look.page.wait_for_selector(".slot")
    assert look.page.locator(".fills tbody tr").count() == 2
    look.page.get_by_role("button", name="Copy a link").click()
    assert look.page.evaluate("navigator.clipboard.readText()") == look.page.url
    look.page.goto("about:blank")
    look.page.goto(address)
    look.answered()
    assert look.text("#title") == "Surprise"
    assert look.page.input_value("#text-a") == "the [MASK] ."


@pytest.mark.parametrize(
    "hash", ["v=nothing&m=7&k=-1", "m=x&k=1e9&n=%00", "%", "v=compare&s=1&u=%ff", "v=fill&t=%F0%9F"]
)
def test_any_address_is_taken_for_something(look: Look, hash: str) -> None:
    look.page.goto(f"{look.url}#{hash}")
    look.answered()
    assert look.page.locator("#problem").is_hidden()


def test_history_stays_on_this_machine(look: Look) -> None:
    open_by_keyboard(look, "tokens", "the cat")
    look.page.keyboard.press("Alt+1")
    look.answered()
    look.page.keyboard.press("Alt+r")
    entries = look.page.locator("#history-list button")
    assert "the cat" in entries.first.inner_text()
    look.page.locator("#history-list button", has_text="tokens").press("Enter")
    look.page.wait_for_function("() => document.querySelector('#title').textContent === 'Tokens'")
    look.answered()
    look.page.click("#history-open")
    look.page.click("#history-clear")
    assert look.text("#history-list") == "Nothing yet."
    assert look.page.evaluate("localStorage.getItem('tf-mlm:history')") == "[]"


def test_the_longest_text_is_in_its_link_and_in_the_history(look: Look) -> None:
    longest = "東京 " * (TEXT_BYTES // 7)
    look.open(v="tokens")
    # There is room for one of them.
    look.page.evaluate("localStorage.setItem('other', 'x'.repeat(4_600_000))")
    for at in range(2):
        look.page.fill("#text-a", f"{at}{longest[:-1]}")
        look.page.keyboard.press("Control+Enter")
        look.page.wait_for_function(ANSWERED)
    look.page.get_by_role("button", name="Copy a link").click()
    link = look.page.evaluate("navigator.clipboard.readText()")
    look.page.goto("about:blank")
    look.page.goto(link)
    look.answered()
    assert look.page.input_value("#text-a") == f"1{longest[:-1]}"
    look.page.click("#history-open")
    kept = look.all("#history-list button")
    assert len(kept) == 1
    assert kept[0].startswith("1東京")


def test_request_and_answer_are_shown_as_they_were(look: Look) -> None:
    look.open(v="fill", t="the [MASK] .", k=2)
    look.page.click("text=Raw request and response")
    look.page.wait_for_selector("#raw-body pre")
    request, response = [json.loads(text) for text in look.all("#raw-body pre")][-2:]
    assert request == {"signature_name": "serving_default", "inputs": {"text": ["the [MASK] ."]}}
    best = response["outputs"]["tokens"][0][0][0]
    assert look.all(".slot") == [best.removeprefix("##")]


def test_the_theme_can_be_chosen_and_is_kept(look: Look) -> None:
    look.open(v="fill")
    colours = []
    for _ in range(3):
        colours.append(look.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        look.page.locator("#theme").press("Enter")
    assert len(set(colours)) == 2
    look.page.click("#theme")
    look.page.reload()
    assert look.text("#theme") == "Theme: light"


@pytest.mark.parametrize(
    "text", ["<script>document.title = 'broken in'</script>", "<img src=x onerror=alert(1)>"]
)
def test_a_text_is_never_html(look: Look, text: str) -> None:
    for view in ("fill", "surprise", "tokens", "compare"):
        look.open(v=view, t=f"{text} [MASK]", u=text, w="<b>bold</b>")
        assert look.page.locator("main script, main img, #result b, #take b").count() == 0
        assert look.page.title() != "broken in"
    look.page.click("text=Raw request and response")
    look.page.wait_for_selector("#raw-body pre")
    assert text in look.text("#raw-body")
    look.page.click("#history-open")
    assert look.page.locator("dialog script, dialog img").count() == 0
