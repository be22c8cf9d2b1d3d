"""Short calls are replayed as device graphs by the parent's clock, and nothing is told of what cannot be."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from everforge.runners.clock.contender import Contender, Course, Launches, Turn
from everforge.runners.clock.replays import replays
from everforge.runners.tensors.mixing import Mix

CALLS, TIMES = 20, 15


class Replayed:
    """Stands for a worker: each replayed call takes the time it is told to take."""

    def __init__(self, call_us: float, captured: object = True) -> None:
        self.call_us, self.captured = call_us, captured

    @contextmanager
    def precedence(self) -> Iterator[None]:
        yield

    @contextmanager
    def frozen(self) -> Iterator[None]:
        yield

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = (), *, deadline_s: float) -> dict[str, Any]:
        if message["op"] == "replays":
            assert message["times"] == TIMES
            time.sleep(self.call_us * CALLS * TIMES / 1e6)
            return {"checksums": [1] * CALLS}
        return {"captured": self.captured}


class Witnessing:
    """Stands for the witness: finds what it is told to find."""

    def __init__(self, detail: str | None) -> None:
        self.detail = detail

    def see(self, turn: Turn) -> None:
        assert len(turn.checksums) == CALLS

    def findings(self) -> list[Any]:
        return [(None, self)]


def contender(call_us: float, changed: tuple[int, ...] = (), captured: object = True) -> Contender:
    course = Course(("a",), "mask", (), changed, {}, 64, lambda count, rng: [Mix(0, 0, 0)] * count)
    made = Contender(Replayed(call_us, captured), "main", course, host_memory=False)  # type: ignore[arg-type]
    made.turns.append(Turn((call_us,) * 3, 1e3, (), (), 0))
    return made


def taken(own: Contender, rival: Contender, detail: str | None = None) -> Any:
    told = tuple(Launches(each.median_us) for each in (own, rival))
    return replays(own, rival, told, Witnessing(detail), time.monotonic() + 60)  # type: ignore[arg-type]


def test_difference_is_what_the_parent_saw() -> None:
    rounds = taken(contender(30.0), contender(50.0))
    assert len(rounds) == 8
    own_us = sorted(own for own, _ in rounds)[4]
    assert own_us == pytest.approx(30.0, abs=15)  # a sleep is late by as much on a busy machine
    assert {rival for _, rival in rounds} == {50.0}


@pytest.mark.parametrize(
    ("own", "rival"),
    [
        pytest.param(contender(300.0), contender(500.0), id="long calls"),
        pytest.param(contender(30.0, changed=(0,)), contender(50.0), id="inputs that change"),
        pytest.param(contender(30.0, captured=None), contender(50.0), id="a candidate that cannot be captured"),
        pytest.param(contender(30.0), contender(50.0, captured=False), id="a baseline that cannot be captured"),
    ],
)
def test_nothing_is_told_of(own: Contender, rival: Contender) -> None:
    assert taken(own, rival) is None


def test_wrong_output_of_a_replay_tells_nothing() -> None:
    assert taken(contender(30.0), contender(50.0), detail="too far off") is None
