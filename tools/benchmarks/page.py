"""The page in Chromium: how soon a fill is on the screen, and how long the browser is ever held up.

The model has the demo's sizes and vocabulary. Figures are read in the browser itself: the page measures from
the question to the painted answer, Chromium's trace has every task of its main thread.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from benchmarks.contest import Outcome
from chromium import ANSWERED, chromium, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tf_mlm.serving.client.client import Client

ROUNDS = 10
TOKENS = 500
TEXT = "Return the length of the list, or raise an error if the value is not found."
MEASURED = """(({startTime, duration, detail}) => ({startTime, duration, seconds: detail.seconds}))(
    performance.getEntriesByName("tf-mlm").at(-1))"""


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Fills on the screen, the longest task, the weight, and hosts that were asked; there are no peers."""
    from tf_mlm.page.model import PageModel
    from tf_mlm.page.server import PageServer
    from tf_mlm.target.open import open_target

    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        target = str(demo_model(Path(folder)))
        client = open_target(target, 25, bounded=True)
        model = PageModel(target, client, "directory")
        model.warm_up()
        with PageServer([model], port=0) as server:
            page = browser.new_page()
            requests: list[str] = []
            sizes: dict[str, int] = {}
            page.on("request", lambda request: requests.append(request.url))
            page.on("response", lambda answer: _note_size(sizes, answer))
            open_page(page, f"{server.url}#v=fill")
            weight = sum(size for url, size in sizes.items() if "/api/" not in url)
            yield _fills(page, server.url, client, opened=True)
            yield _fills(page, server.url, client, opened=False)
            yield _longest_task(browser, page, server.url)
            yield _figure("files of the page", "all of them", weight / 1000, "kB")
            others = [url for url in requests if not url.startswith((server.url, "about:"))]
            yield _figure("requests to other hosts", f"of {len(requests)}", len(others), "requests")


def _figure(work: str, name: str, value: float, unit: str) -> Outcome:
    return Outcome(work, {name: value}, {}, 0.0, unit=unit)


def _note_size(sizes: dict[str, int], answer: Any) -> None:
    if "/api/" not in answer.url and answer.url.startswith("http"):
        sizes[answer.url] = int(answer.headers.get("content-length", 0))


def demo_model(folder: Path) -> Path:
    """A model as the demo trains it, but hardly trained."""
    from tf_mlm.cli.demo import recipe
    from tf_mlm.training.data.documentation import write_documentation_corpus
    from tf_mlm.training.run.trainer import train

    corpus = folder / "corpus.jsonl"
    write_documentation_corpus(corpus)
    config = dataclasses.replace(recipe(), steps=2, evaluate_every=2, evaluation_rows=16)
    train([corpus], folder / "model", config, compile=False)
    return folder / "model"


def _fills(page: Page, url: str, client: Client, *, opened: bool) -> Outcome:
    """From the opening of the page, or from a click on a token, to the painted fills."""
    shown, asked, own, differences = [], [], [], []
    for _ in range(ROUNDS):
        text = TEXT.replace("length", "[MASK]") if opened else TEXT
        open_page(page, f"{url}#{urlencode({'v': 'fill', 't': text})}")
        if not opened:
            page.get_by_role("button", name="length", exact=True).click()
            page.wait_for_selector(".slot")
            page.wait_for_function(ANSWERED)
        page.wait_for_function("() => performance.getEntriesByName('tf-mlm').length")
        found = page.evaluate(MEASURED)
        seen = float(page.locator(".fills td.number").first.inner_text().removesuffix("%"))
        score = client.fill(TEXT.replace("length", "[MASK]"), top_k=1)[0]["score"]
        differences.append(abs(seen / 100 - score))
        # Times count from the moment at which the page began to load.
        begun = 0.0 if opened else found["startTime"]
        shown.append(found["startTime"] + found["duration"] - begun)
        asked.append(found["duration"])
        own.append(1e3 * found["seconds"])
    times = {
        "on the screen": statistics.median(shown),
        "the model's own answer": statistics.median(own),
        "beyond the model": statistics.median(a - b for a, b in zip(shown, own, strict=True)),
        "beyond it, from the question": statistics.median(a - b for a, b in zip(asked, own, strict=True)),
    }
    return Outcome(f"first fill, {'page opened' if opened else 'token clicked'}", times, {}, max(differences))


def _longest_task(browser: Browser, page: Page, url: str) -> Outcome:
    """Of the browser's main thread, while a paragraph is coloured window by window."""
    open_page(page, f"{url}#v=surprise")
    text = " ".join([TEXT] * (TOKENS // len(TEXT.split())))
    page.fill("#text-a", text)
    browser.start_tracing(page=page, categories=["toplevel", "devtools.timeline"])
    page.click("#ask")
    page.wait_for_function("() => document.querySelectorAll('.figures').length")
    page.wait_for_function(ANSWERED)
    tokens = int(page.locator(".figures dd").nth(3).inner_text().replace(",", ""))
    tasks = main_thread_tasks(json.loads(browser.stop_tracing()))
    times = {
        "longest task": max(task.wall for task in tasks),
        "longest, on a core": max(task.cpu for task in tasks),
        "all tasks together": sum(task.wall for task in tasks),
    }
    return Outcome(f"{tokens} tokens coloured", times, {}, 0.0, items=tokens)


@dataclasses.dataclass(frozen=True)
class Task:
    """Milliseconds of a task: until it had ended, and those in which a core worked on it."""

    wall: float
    cpu: float


def main_thread_tasks(trace: dict[str, Any]) -> list[Task]:
    """The tasks of the busiest renderer's main thread; a busy machine makes them long, not much."""
    events = trace["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[tuple[int, int], list[Task]] = {}
    for event in events:
        key = (event["pid"], event["tid"])
        if key in mains and event["name"] in ("RunTask", "ThreadControllerImpl::RunTask"):
            task = Task(event.get("dur", 0) / 1e3, event.get("tdur", 0) / 1e3)
            tasks.setdefault(key, []).append(task)
    return max(tasks.values(), key=lambda each: sum(task.cpu for task in each))
