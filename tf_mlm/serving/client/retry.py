"""When a question is asked again: the server was not available, and there is time."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.errors import Code

_FIRST_WAIT, _LONGEST_WAIT, _GROWTH = 0.1, 5.0, 3.0
Answer = TypeVar("Answer")
Sleep = Callable[[float], Awaitable[None]]


async def blocking_sleep(seconds: float) -> None:
    """For the client that blocks."""
    time.sleep(seconds)


async def retry_unavailable(
    ask: Callable[[float], Awaitable[Answer]], timeout: float, retries: int, sleep: Sleep
) -> Answer:
    """Asks within the timeout, again only when the server was not available.

    Between two tries it waits 0.1 s, then three times as long each time up to 5 s, each give or take a
    half: of many clients that lost a server none comes back at the same moment.

    Args:
        ask: is given the seconds left, and raises `ClientError`.
        timeout: seconds for all tries together.
        retries: how often it is asked again at most.
        sleep: waits so many seconds.
    """
    deadline, wait = time.monotonic() + timeout, _FIRST_WAIT
    while True:
        pause = wait * random.uniform(0.5, 1.5)
        try:
            return await ask(max(0.001, deadline - time.monotonic()))
        except ClientError as error:
            out_of_time = time.monotonic() + pause >= deadline
            if error.code is not Code.UNAVAILABLE or retries == 0 or out_of_time:
                raise
        await sleep(pause)
        retries -= 1
        wait = min(wait * _GROWTH, _LONGEST_WAIT)
