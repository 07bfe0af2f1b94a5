"""Places for requests at work: in order, never all for one model, given away by who does not stop."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import eventually

from tf_mlm.serving import call as call_module
from tf_mlm.serving import concurrency_limit
from tf_mlm.serving.call import Call
from tf_mlm.serving.concurrency_limit import ConcurrencyLimit
from tf_mlm.serving.errors import Code, ServingError


def test_it_serves_in_order_and_forgets_who_has_gone() -> None:
    limit, order, gone = ConcurrencyLimit(1), [], Call()

    def wait(name: str, call: Call) -> None:
        try:
            with limit.place(call, "m"):
                order.append(name)
        except ServingError as error:
            order.append(error.code.name)

    with ThreadPoolExecutor(3) as threads:
        with limit.place(Call(), "m"):
            for position, (name, call) in enumerate((("a", Call()), ("b", gone), ("c", Call())), 1):
                threads.submit(wait, name, call)
                eventually(lambda position=position: limit.waiting == position)
            gone.cancel()
            eventually(lambda: order == [Code.CANCELLED.name])
        threads.shutdown()
    assert order == ["CANCELLED", "a", "c"]
    with limit.place(Call(timeout=0), "m"):  # its place was given back
        pass
    limit.close()


def test_one_model_never_takes_the_last_place() -> None:
    limit = ConcurrencyLimit(4)  # and one more
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(limit.place(Call(), "never answers"))
        with ThreadPoolExecutor(1) as threads:
            given_up = Call()
            waiting = threads.submit(lambda: stack.enter_context(limit.place(given_up, "never answers")))
            eventually(lambda: limit.waiting)
            for _ in range(10):
                with limit.place(Call(timeout=0), "another"):
                    pass
            given_up.cancel()
            with pytest.raises(ServingError, match="client has gone"):
                waiting.result()
        with (
            limit.place(Call(timeout=0), "another"),
            pytest.raises(ServingError, match="Timed out"),
            limit.place(Call(timeout=0.01), "a third"),
        ):
            pass
    limit.close()


def test_a_place_goes_to_the_first_who_may_take_it() -> None:
    limit, order = ConcurrencyLimit(1), []

    def wait(model: str) -> None:
        with limit.place(Call(), model):
            order.append(model)

    with ThreadPoolExecutor(3) as threads, limit.place(Call(), "a"):
        with limit.place(Call(), "b"):
            for position, model in enumerate(("a", "c"), 1):
                threads.submit(wait, model)
                eventually(lambda position=position: limit.waiting == position)
        eventually(lambda: order == ["c"])
        assert limit.waiting == 1
    assert order == ["c", "a"]
    limit.close()


def test_names_are_forgotten() -> None:
    limit = ConcurrencyLimit(2)
    for number in range(100):
        with limit.place(Call(), str(number)):
            pass
    assert not limit._taken
    limit.close()


def test_who_goes_on_for_nobody_gives_its_place_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "NOTICE_SECONDS", 0.05)
    monkeypatch.setattr(concurrency_limit, "MAX_STUCK_RUNS", 2)
    limit, end = ConcurrencyLimit(1), threading.Event()

    def never_stops(call: Call) -> None:
        with limit.place(call, "m"):
            assert end.wait(60)

    with ThreadPoolExecutor(2) as threads:
        for working in (1, 2):
            call = Call()
            threads.submit(never_stops, call)
            eventually(lambda working=working: limit.working == working)
            call.cancel()
            with limit.place(Call(), "m"):
                pass
        with pytest.raises(ServingError, match="2 earlier requests go on") as error, limit.place(Call(), "m"):
            pass
        assert error.value.code is Code.UNAVAILABLE
        end.set()
        threads.shutdown()
    with limit.place(Call(timeout=0), "m"):
        pass
    limit.close()
