"""What the page's benchmark reads out of a browser's trace."""

from __future__ import annotations

from typing import Any

from benchmarks.page import Task, main_thread_tasks


def thread(process: int, number: int, name: str) -> dict[str, Any]:
    return {"name": "thread_name", "pid": process, "tid": number, "args": {"name": name}}


def task(process: int, number: int, wall: int, cpu: int, name: str = "RunTask") -> dict[str, Any]:
    return {"name": name, "pid": process, "tid": number, "dur": wall, "tdur": cpu}


def test_the_tasks_are_those_of_the_busiest_pages_main_thread() -> None:
    events = [
        thread(1, 1, "CrRendererMain"),
        thread(1, 2, "Compositor"),
        thread(2, 1, "CrRendererMain"),
        task(1, 1, 9000, 4000),
        task(1, 1, 2000, 2000),
        task(1, 1, 70_000, 70_000, "Layout"),  # inside a task
        task(1, 2, 80_000, 80_000),
        task(2, 1, 90_000, 1000),
    ]
    assert main_thread_tasks({"traceEvents": events}) == [Task(9.0, 4.0), Task(2.0, 2.0)]
