"""A request to stop cuts waiting short and leaves writing alone."""

import os
import signal

import pytest

from everforge.agents.stop_signal import StopSignal


def test_stop_cuts_a_wait_short() -> None:
    stop = StopSignal()
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        stop.request()


def test_stop_outside_a_wait_takes_effect_at_the_next_one() -> None:
    stop = StopSignal()
    stop.request()
    with pytest.raises(KeyboardInterrupt), stop.interruptible():
        pytest.fail("the wait began")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_request_a_stop_and_are_given_back(number: signal.Signals) -> None:
    stop, before = StopSignal(), signal.getsignal(number)
    with stop.installed():
        os.kill(os.getpid(), number)
        assert stop.requested
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_wait_that_is_over_is_not_interrupted() -> None:
    stop = StopSignal()
    with stop.interruptible():
        pass
    stop.request()
    assert stop.requested
