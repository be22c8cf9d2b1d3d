"""The queue: each key once, never twice at once, failures later, and nothing that was asked for is lost."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.operator.workqueue import WorkQueue


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def queue(time: Time) -> WorkQueue[str]:
    return WorkQueue(time, lambda: 1.0)


def test_key_added_twice_is_taken_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert (queue.take_due(), queue.take_due()) == ("a", None)


def test_key_in_work_is_not_given_to_a_second_worker_but_comes_again(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.take_due() == "a"
    queue.add("a")
    assert queue.take_due() is None
    queue.done("a")
    assert queue.take_due() == "a"


def test_delayed_key_waits_and_an_earlier_wish_wins(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a", after_s=100)
    queue.add("a", after_s=10)
    queue.add("a", after_s=50)
    assert queue.take_due() is None
    time.now_s = 10
    assert queue.take_due() == "a"
    queue.done("a")
    time.now_s = 1000
    assert queue.take_due() is None


def test_failures_wait_twice_as_long_each_time_and_five_minutes_at_most(queue: WorkQueue[str], time: Time) -> None:
    pauses = []
    queue.add("a")
    for _ in range(11):
        time.now_s += 1000
        assert queue.take_due() == "a"
        pauses.append(queue.failed("a"))
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_success_forgets_failures(queue: WorkQueue[str], time: Time) -> None:
    for outcome in (queue.failed, queue.failed, queue.done, queue.failed):
        queue.add("a")
        time.now_s += 1000
        assert queue.take_due() == "a"
        last = outcome("a")
    assert last == 1


def test_failed_key_waits_though_it_was_asked_for_meanwhile(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    queue.take_due()
    queue.add("a")
    queue.failed("a")
    assert queue.take_due() is None
    time.now_s = 1
    assert queue.take_due() == "a"


def test_half_of_a_pause_is_drawn(time: Time) -> None:
    drawn = WorkQueue[str](time, lambda: 0.0)
    drawn.add("a")
    drawn.take_due()
    assert drawn.failed("a") == 0.5


def test_state_tells_the_oldest_wait_and_the_longest_work(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    queue.add("b", after_s=2)
    queue.add("c", after_s=60)
    time.now_s = 5
    queue.take_due()
    time.now_s = 9
    state = queue.state()
    assert (state.waiting, state.oldest_age_s, state.longest_work_s) == (1, 7, 4)


def test_closed_queue_ends_whoever_waits() -> None:
    queue = WorkQueue[str](lambda: 0.0)
    taken: list[str | None] = ["nothing yet"]
    worker = threading.Thread(target=lambda: taken.__setitem__(0, queue.take()))
    worker.start()
    queue.close()
    worker.join(timeout=10)
    assert taken == [None]


def test_forgotten_key_does_not_come_back(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.forget("a")
    assert queue.take_due() is None


@given(st.lists(st.tuples(st.sampled_from("atdfw"), st.sampled_from("xyz"), st.integers(0, 9)), max_size=60))
def test_what_is_asked_for_is_done_after_it_was_asked_and_never_twice_at_once(
    steps: list[tuple[str, str, int]],
) -> None:
    time = Time()
    queue = WorkQueue[str](time, lambda: 1.0)
    working: Counter[str] = Counter()
    asked: set[str] = set()
    for what, key, number in steps:
        if what == "a":
            queue.add(key, number)
            asked.add(key)
        elif what == "w":
            time.now_s += number
        elif what == "t" and (taken := queue.take_due()) is not None:
            working[taken] += 1
            assert working[taken] == 1
            asked.discard(taken)
        elif what in "df" and working[key]:
            working[key] -= 1
            queue.done(key) if what == "d" else queue.failed(key)
            if what == "f":
                asked.add(key)
    for key in [key for key, count in working.items() if count]:
        queue.done(key)
    time.now_s += 1e6
    left = set()
    while (taken := queue.take_due()) is not None:
        left.add(taken)
        queue.done(taken)
    assert asked <= left
