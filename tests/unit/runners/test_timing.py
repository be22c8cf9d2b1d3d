"""Contenders take turns until the interval is tight, and the interval comes from paired rounds."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from everforge.model.session import EvaluationSettings
from everforge.runners.clock.contender import Contender, Course, Launches, Nonsense
from everforge.runners.clock.race import Pairing, audit, race, speedup_of
from everforge.runners.tensors.mixing import Mix, draw_mixes

HONEST = {"odd_form": False, "changed_inputs": False}


class Clockwork:
    """Stands for a worker: every call takes the time it is told to take."""

    def __init__(self, log: list[str], name: str, call_us: float) -> None:
        self.log, self.name, self.call_us = log, name, call_us
        self.calls = 0
        # What the host takes over launching a turn.
        self.launch_s = 0.0
        self.asked: list[dict[str, Any]] = []

    @contextmanager
    def precedence(self) -> Iterator[None]:
        yield

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.log.append("(")
        yield
        self.log.append(")")

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = (), *, deadline_s: float) -> dict[str, Any]:
        if message["op"] != "time":
            return {}
        self.asked.append(message)
        self.log.append(self.name)
        self.calls += len(message["mixes"])
        time.sleep(self.launch_s * len(message["mixes"]))
        return {"times_us": [self.call_us] * len(message["mixes"]), "checksums": [], **HONEST}


def draw(count: int, rng: random.Random) -> list[Mix]:
    """Calls whose inputs are mixed from two draws."""
    return draw_mixes(count, 2, True, rng)


def contenders(*times_us: float, output_bytes: int = 8) -> tuple[list[str], list[Contender]]:
    log: list[str] = []
    course = Course(("a", "b"), "mask", (0,), (), {}, output_bytes, draw)
    return log, [
        Contender(Clockwork(log, str(index), value), "slot", course, host_memory=True)  # type: ignore[arg-type]
        for index, value in enumerate(times_us)
    ]


FIRST_IS_SLOW = {"times_us": [99.0, 1.0, 2.0], "checksums": [], **HONEST}


def clockwork(contender: Contender) -> Clockwork:
    return contender.worker  # type: ignore[return-value]


def run(contestants: list[Contender], settings: EvaluationSettings) -> None:
    race(contestants, settings, time.monotonic() + 60)


def test_order_alternates_and_the_candidate_stands_still_while_another_runs() -> None:
    log, both = contenders(100.0, 200.0)
    run(both, EvaluationSettings(min_rounds=4, max_rounds=4))
    assert "".join(log) == "01" + "0(1)" + "(1)0" + "0(1)" + "(1)0"


def test_steady_times_stop_at_the_least_number_of_rounds() -> None:
    _, both = contenders(100.0, 200.0)
    run(both, EvaluationSettings(min_rounds=10, max_rounds=60))
    assert [len(contender.turns) for contender in both] == [10, 10]


@pytest.mark.parametrize(
    ("times_us", "counted"),
    [
        pytest.param((100.0, 150.0), 20, id="short calls are repeated"),
        pytest.param((1000.0, 1500.0), 4, id="a turn lasts 4 ms"),
        pytest.param((100.0, 1e4), 5, id="a slow contender's turn lasts 50 ms at most"),
        pytest.param((100.0, 1e6), 1, id="a very slow one has one call"),
    ],
)
def test_every_contender_makes_the_same_number_of_calls(times_us: tuple[float, float], counted: int) -> None:
    _, both = contenders(*times_us)
    run(both, EvaluationSettings(min_rounds=3, max_rounds=3))
    # Each turn makes one call more, which is not counted; the pilot is a turn of 3.
    assert [clockwork(contender).calls for contender in both] == [4 + 3 * (counted + 1)] * 2


def test_turn_makes_no_more_calls_than_outputs_can_be_kept() -> None:
    _, both = contenders(100.0, 150.0, output_bytes=128 << 20)
    run(both, EvaluationSettings(min_rounds=3, max_rounds=3))
    assert clockwork(both[0]).calls == 4 + 3 * 4


def test_device_gets_a_head_start_that_outlasts_the_slowest_contenders_launches() -> None:
    _, both = contenders(100.0, 150.0)
    for contender in both:
        contender.host_memory = False
    clockwork(both[1]).launch_s = 0.001  # for each call
    run(both, EvaluationSettings(min_rounds=3, max_rounds=3))
    for contender in both:
        *pilots, first, _, last = [message["head_start_us"] for message in clockwork(contender).asked]
        assert pilots[:3] == [0.0, 0.0, 0.0]
        assert pilots[3] > 4 * 1000  # told times say nothing while launches hold the device up
        calls = len(clockwork(contender).asked[-1]["mixes"])
        assert calls * 800 < first == last <= 5e4
        assert calls <= 6  # more would fill the queue


def test_device_that_is_busy_with_large_outputs_gets_no_head_start() -> None:
    _, both = contenders(100.0, 150.0, output_bytes=128 << 20)
    for contender in both:
        contender.host_memory = False
    run(both, EvaluationSettings(min_rounds=3, max_rounds=3))
    assert {message["head_start_us"] for message in clockwork(both[0]).asked} == {0.0}


def test_host_that_computes_itself_gets_no_head_start() -> None:
    _, both = contenders(100.0, 150.0)
    run(both, EvaluationSettings(min_rounds=3, max_rounds=3))
    assert {message["head_start_us"] for message in clockwork(both[0]).asked} == {0.0}


def test_no_two_calls_of_a_turn_have_the_same_inputs() -> None:
    _, both = contenders(100.0, 150.0)
    run(both, EvaluationSettings(min_rounds=10, max_rounds=10))
    drawn = [mix for message in clockwork(both[0]).asked for mix in message["mixes"]]
    assert len(set(drawn)) > 0.99 * len(drawn)


def test_audit_follows_the_race_without_a_flush_and_drops_its_first_round() -> None:
    _, both = contenders(100.0, 200.0)
    run(both, EvaluationSettings(min_rounds=3, max_rounds=3))
    rounds = audit(both[0], both[1], time.monotonic() + 60)
    flushed = [message["flush"] for message in clockwork(both[0]).asked]
    assert flushed == [True] * 4 + [False] * (len(rounds) + 1)


def test_first_call_of_a_turn_is_not_counted() -> None:
    _, (contender,) = contenders(1.0)
    contender.worker.ask = lambda *_, **__: FIRST_IS_SLOW  # type: ignore[method-assign]
    assert contender.turn(2, time.monotonic() + 1).counted_us == (1.0, 2.0)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"times_us": [], "checksums": []},
        {"times_us": [0.0] * 4, "checksums": []},
        {"times_us": [-1.0] * 4, "checksums": []},
        {"times_us": [1.0] * 50, "checksums": []},
        {"times_us": ["1.0"] * 4, "checksums": []},
        {"times_us": [1.0] * 4, "checksums": [1]},
        {"times_us": {"a": 1.0}, "checksums": []},
        {"times_us": [1.0] * 4, "checksums": [], "odd_form": True},
        {"times_us": [1.0] * 4, "checksums": []},
        {"times_us": [1.0] * 4, "checksums": [], **HONEST, "changed_inputs": True},
    ],
)
def test_answer_that_cannot_be_is_evidence(answer: dict[str, Any]) -> None:
    _, (contender,) = contenders(1.0)
    contender.worker.ask = lambda *_, **__: answer  # type: ignore[method-assign]
    with pytest.raises(Nonsense):
        contender.turn(3, time.monotonic() + 1)


@pytest.mark.parametrize("told", ["123", [], [0.0], [True], ["1.0"], {"0": 1.0}, None, 5])
def test_replay_told_in_numbers_that_cannot_be_is_none(told: object) -> None:
    _, (contender,) = contenders(1.0)
    contender.worker.ask = lambda *_, **__: {"times_us": told, "launches_us": told}  # type: ignore[method-assign]
    assert contender.launches(3, time.monotonic() + 1) == Launches()


def test_speedup_is_the_ratio_of_medians() -> None:
    speedup = speedup_of([Pairing(1.0, (10.0, 10.0, 10.0), (20.0, 20.0, 20.0))], seed=0)
    assert (speedup.value, speedup.low, speedup.high) == (2.0, 2.0, 2.0)


def test_variants_are_weighed_geometrically() -> None:
    fast, slow = Pairing(3.0, (1.0,) * 3, (16.0,) * 3), Pairing(1.0, (1.0,) * 3, (1.0,) * 3)
    assert speedup_of([fast, slow], seed=0).value == pytest.approx(16 ** (3 / 4))


def test_noise_widens_the_interval() -> None:
    noisy = Pairing(1.0, (10.0, 14.0, 9.0, 12.0, 8.0, 11.0), (10.0, 9.0, 13.0, 8.0, 12.0, 10.0))
    speedup = speedup_of([noisy], seed=0)
    assert speedup.low < 1 < speedup.high
