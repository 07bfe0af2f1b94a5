"""A call's deadline and its cancellation."""

from __future__ import annotations

import pytest

from tf_mlm.serving import call as call_module
from tf_mlm.serving.call import Call, StuckCalls
from tf_mlm.serving.errors import Code, ServingError


def test_a_deadline_that_has_passed() -> None:
    call = Call(timeout=0)
    assert call.remaining() == 0
    with pytest.raises(ServingError) as error:
        call.check()
    assert error.value.code is Code.DEADLINE_EXCEEDED


def test_without_a_deadline() -> None:
    call = Call()
    assert call.remaining() is None
    call.check()


def test_what_stops_work_is_called_once_and_at_once_when_too_late() -> None:
    call, stopped = Call(timeout=60), []
    call.on_cancel(lambda: stopped.append("early"))
    call.cancel()
    call.cancel()
    call.on_cancel(lambda: stopped.append("late"))
    assert stopped == ["early", "late"]
    with pytest.raises(ServingError) as error:
        call.check()
    assert error.value.code is Code.CANCELLED


def test_a_callback_holds_for_its_block_only() -> None:
    call, stopped = Call(), []
    with call.when_cancelled(lambda: stopped.append("in")):
        pass
    with call.when_cancelled(lambda: stopped.append("out")):
        call.cancel()
    assert stopped == ["out"]


def test_the_server_s_own_limit_names_its_flag() -> None:
    call = Call(timeout=60, limit=1e-9)
    assert call.over
    assert "raise --max_request_seconds" in call.error().message
    assert Call(timeout=0, limit=5).error().message == "Timed out waiting for notification"
    assert Call(timeout=None, limit=0).remaining() is None


def test_a_call_is_stuck_when_it_goes_on_long_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(call_module.time, "monotonic", lambda: now)
    waited_for, over, ends = Call(), Call(timeout=0), Call(timeout=0)
    stuck = StuckCalls()
    assert stuck.among([waited_for, over, ends]) == []
    now += call_module.NOTICE_SECONDS
    assert stuck.among([waited_for, over]) == [over]
    assert stuck.among([ends]) == []  # it was not at work in between
