"""What a candidate's process tells of its times is held against the parent's clock."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everforge.runners.clock.clock_check import (
    Rounds,
    contradiction,
    hardly_flushed,
    replay_contradiction,
    seen_rounds,
    seen_us,
    unflushed,
    unflushed_on_device,
)
from everforge.runners.clock.contender import Turn

CALLS = 20
# What a turn costs beside its calls, and how much that varies from turn to turn.
BESIDE_US, JITTER_US = 4000.0, 100.0


def turn(told_us: float, really_us: float, rng: random.Random) -> Turn:
    wall_us = really_us * CALLS + BESIDE_US + rng.uniform(0, JITTER_US)
    return Turn((told_us,) * CALLS, wall_us, (), (), 0)


def rounds(told_us: float, really_us: float, rival_us: float, seed: int = 0, count: int = 10) -> Rounds:
    rng = random.Random(seed)
    return [(turn(told_us, really_us, rng), turn(rival_us, rival_us, rng)) for _ in range(count)]


@given(
    really_us=st.floats(50, 1e5),
    rival_us=st.floats(50, 1e5),
    warm=st.floats(0.3, 1.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_honest_times_are_never_contradicted(really_us: float, rival_us: float, warm: float, seed: int) -> None:
    race = rounds(really_us, really_us, rival_us, seed)
    audited = rounds(warm * really_us, warm * really_us, warm * rival_us, seed)
    assert contradiction(race, audited, floor_us=None) is None


@pytest.mark.parametrize(
    ("cheat", "says"),
    [
        pytest.param(lambda us: us / 3, "saw", id="a clock that runs at a third of its speed"),
        pytest.param(lambda us: 1.0, "saw", id="a constant"),
    ],
)
def test_times_told_too_short_are_contradicted(cheat: Callable[[float], float], says: str) -> None:
    evidence = contradiction(rounds(cheat(300), 300, 300), rounds(cheat(200), 200, 200), floor_us=None)
    assert evidence is not None
    assert says in evidence


def test_cheat_that_is_honest_without_a_flush_is_contradicted_by_its_own_warm_calls() -> None:
    evidence = contradiction(rounds(50, 300, 300), rounds(200, 200, 200), floor_us=None)
    assert evidence is not None


def test_twofold_difference_is_left_to_the_parents_figure() -> None:
    assert contradiction(rounds(170, 300, 300), rounds(120, 200, 200), floor_us=None) is None


def test_time_below_the_floor_is_believed_only_if_the_parent_saw_it() -> None:
    told, seen = rounds(70, 100, 100), rounds(70, 70, 70)
    assert contradiction(told, rounds(70, 70, 70), floor_us=90) is not None
    assert contradiction(seen, rounds(70, 70, 70), floor_us=90) is None


def test_parent_sees_the_time_that_a_process_does_not_tell() -> None:
    quiet = random.Random(0)
    hidden = turn(10, 110, quiet)
    assert seen_us(hidden, turn(50, 50, quiet)) == pytest.approx(110, abs=JITTER_US / CALLS)


def test_machine_noise_leaves_a_time_above_zero() -> None:
    slow_rival = Turn((50.0,) * CALLS, 1e9, (), (), 0)
    own, rival = seen_rounds([(turn(50, 50, random.Random(0)), slow_rival)])
    assert own[0] > 0
    assert rival == (50.0,)


def test_work_done_in_the_call_that_does_not_count_is_seen() -> None:
    def ahead(rng: random.Random) -> Turn:
        wall_us = 300 * CALLS + BESIDE_US + rng.uniform(0, JITTER_US)
        return Turn((300.0 * (CALLS - 1), *(15.0,) * (CALLS - 1)), wall_us, (), (), 0)

    rng = random.Random(0)
    race = [(ahead(rng), turn(300, 300, rng)) for _ in range(10)]
    assert contradiction(race, rounds(200, 200, 200), floor_us=None) is not None


def test_flush_left_out_shows_in_what_a_turn_costs_beside_its_calls() -> None:
    honest = rounds(300, 300, 300)
    unflushed_turns = [(replace(own, wall_us=own.wall_us - 0.7 * BESIDE_US), rival) for own, rival in honest]
    assert unflushed(honest) is None
    assert hardly_flushed(honest) is None
    assert unflushed(unflushed_turns) is not None
    assert hardly_flushed(unflushed_turns) is not None


def test_baseline_held_up_by_other_work_convicts_nobody() -> None:
    disturbed = [(own, replace(rival, wall_us=rival.wall_us + 3 * BESIDE_US)) for own, rival in rounds(300, 300, 300)]
    one_quiet = [*disturbed[1:], *rounds(300, 300, 300, count=1)]
    assert unflushed(one_quiet) is None
    assert hardly_flushed(one_quiet) is not None


def test_flush_left_out_on_a_device_shows_between_turns_with_it_and_without() -> None:
    def led(flush_us: float) -> Rounds:
        added_us = CALLS * flush_us + 1e4  # the head start is no part of what a turn costs
        plain = rounds(10, 10, 10)
        return [
            (
                replace(own, wall_us=own.wall_us + added_us, head_start_us=1e4),
                replace(rival, wall_us=rival.wall_us + CALLS * 80 + 1e4, head_start_us=1e4),
            )
            for own, rival in plain
        ]

    without = [
        (
            replace(own, wall_us=own.wall_us + 1e4, head_start_us=1e4),
            replace(rival, wall_us=rival.wall_us + 1e4, head_start_us=1e4),
        )
        for own, rival in rounds(8, 8, 8)
    ]
    assert unflushed_on_device(led(80), without) is None
    assert unflushed_on_device(led(0), without) is not None


def test_flush_that_is_lost_among_large_inputs_convicts_nobody() -> None:
    def large(flush_us: float) -> Turn:
        return Turn((500.0,) * 2, 2 * (4500.0 + flush_us), (), (), 0)

    def raced(own_flush_us: float) -> Rounds:
        return [(large(own_flush_us), large(80))] * 10

    without = [(large(0), large(0))] * 10
    assert unflushed_on_device(raced(0), without) is None
    assert unflushed_on_device(raced(-500), without) is None


def test_calls_that_take_longer_in_a_graph_were_told_too_short() -> None:
    race = rounds(2, 20, 20)
    assert replay_contradiction(race, [20.0, 20.5, 19.8, 20.1]) is not None
    assert replay_contradiction(rounds(10, 10, 12), [12.0, 12.4, 11.9, 12.2]) is None
    assert replay_contradiction(rounds(3, 3, 3), [8.0, 8.1, 8.0, 8.0]) is None  # what graphs and events differ by
