"""Work that outlives its connection: who may follow it, who is refused, how it ends."""

import threading
from collections.abc import Iterator

import pytest

from everforge.model.base import Record
from everforge.model.session import Failure, Outcome, Progress
from everforge.runners.errands import Bench, Busy, Errand
from everforge.testing.fakes import FakeClock

DONE = Outcome()


class Trial:
    """Work that goes on until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self, errand: Errand) -> Record:
        errand.say(Progress(stage="compile"))
        errand.say(Progress(stage="verify"))
        self.begun.set()
        assert self.released.wait(30)
        errand.say(Progress(stage="time"))
        return DONE


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bench(clock: FakeClock) -> Iterator[Bench]:
    bench = Bench(clock, queues=False)
    yield bench
    bench.close()


def begun(bench: Bench, key: str = "s/t") -> tuple[Errand, Trial]:
    trial = Trial()
    errand = bench.take(key, trial)
    assert trial.begun.wait(30)
    return errand, trial


def lines(errand: Errand) -> list[Record | None]:
    return list(errand.follow(beat_s=30))


def test_same_request_again_follows_the_work_from_where_it_is(bench: Bench) -> None:
    errand, trial = begun(bench)
    again = bench.take("s/t", lambda _: Failure(kind="harness", message="done twice"))
    followed = again.follow(beat_s=30)
    assert next(followed) == Progress(stage="verify")
    trial.released.set()
    assert list(followed) == [Progress(stage="time"), DONE]
    assert lines(errand) == [DONE]


def test_another_request_is_refused_and_told_when_to_come_again(bench: Bench) -> None:
    errand, trial = begun(bench)
    with pytest.raises(Busy) as refusal:
        bench.take("s/other", trial)
    assert refusal.value.retry_s is not None
    trial.released.set()
    lines(errand)


def test_requests_of_a_bench_that_queues_are_done_in_turn(clock: FakeClock) -> None:
    bench = Bench(clock, queues=True)
    errand, trial = begun(bench)
    second = bench.take("s/other", lambda _: DONE)
    beats = second.follow(beat_s=0.01)
    assert next(beats) is None
    trial.released.set()
    assert [line for line in beats if line is not None] == [DONE]
    assert lines(errand) == [DONE]
    bench.close()


def test_silence_is_broken_by_a_beat(bench: Bench) -> None:
    errand, trial = begun(bench)
    followed = errand.follow(beat_s=0.01)
    assert [next(followed) for _ in range(3)] == [Progress(stage="verify"), None, None]
    trial.released.set()
    lines(errand)


def test_abandoned_work_ends_at_its_next_news_and_is_not_followed_any_more(bench: Bench) -> None:
    errand, trial = begun(bench)
    bench.abandon(lambda key: key.startswith("s/"))
    with pytest.raises(Busy):
        bench.take("s/t", lambda _: DONE)
    trial.released.set()
    [*_, last] = lines(errand)
    assert isinstance(last, Failure)
    assert bench.drain(30)


def test_work_is_only_abandoned_where_its_key_is_meant(bench: Bench) -> None:
    errand, trial = begun(bench)
    bench.abandon(lambda key: key.startswith("another/"))
    trial.released.set()
    assert lines(errand)[-1] == DONE


def test_work_that_breaks_ends_with_a_failure_and_frees_the_bench(bench: Bench) -> None:
    def broken(errand: Errand) -> Record:
        raise SystemExit(3)

    assert isinstance(lines(bench.take("s/t", broken))[-1], Failure)
    assert bench.drain(30)


def test_drained_bench_takes_nothing_and_says_whether_it_finished(bench: Bench) -> None:
    errand, trial = begun(bench)
    assert not bench.drain(0.01)
    with pytest.raises(Busy) as refusal:
        bench.take("s/other", trial)
    assert refusal.value.retry_s is None
    trial.released.set()
    assert bench.drain(30)
    assert lines(errand) == [DONE]


def test_idleness_begins_when_the_last_work_ends(bench: Bench, clock: FakeClock) -> None:
    clock.advance(5)
    assert bench.idle_s() == 5
    errand, trial = begun(bench)
    clock.advance(60)
    assert bench.idle_s() == 0
    trial.released.set()
    lines(errand)
    assert bench.drain(30)
    clock.advance(7)
    assert bench.idle_s() == 7
