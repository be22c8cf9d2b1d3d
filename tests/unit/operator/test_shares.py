"""The limiter of a pool by itself: slots, turns, idle holders, and runners that have not gone yet."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.operator.shares import Asking, shared_out


def ask(uid: str, namespace: str = "a", **fields: object) -> Asking:
    given_fields = {"priority": 0, "asked_s": 0.0, **fields}
    return Asking(uid=uid, namespace=namespace, **given_fields)  # type: ignore[arg-type]


def test_runner_that_is_still_ending_takes_its_slot() -> None:
    assert shared_out([ask("x")], slots=1, occupied_by_others=1, now_s=0).granted == ()
    assert shared_out([ask("x")], slots=1, occupied_by_others=0, now_s=0).granted == ("x",)


def test_who_asked_first_goes_first_within_a_namespace() -> None:
    shares = shared_out([ask("late", asked_s=2.0), ask("early", asked_s=1.0)], 1, 0, 0)
    assert (shares.granted, shares.waiting) == (("early",), ("late",))


def test_namespace_that_holds_fewest_goes_first() -> None:
    asking = [ask("h", held=True), ask("mine", asked_s=1.0), ask("theirs", "b", asked_s=9.0)]
    assert shared_out(asking, 2, 0, 0).granted == ("theirs",)


def test_namespace_served_longest_ago_goes_first_among_equals() -> None:
    asking = [
        ask("h", "a", held=True, held_since_s=50.0),
        ask("g", "b", held=True, held_since_s=10.0),
        ask("x", "a", asked_s=1.0),
        ask("y", "b", asked_s=2.0),
    ]
    assert shared_out(asking, 3, 0, 0).granted == ("y",)


@pytest.mark.parametrize(("now_s", "revoked"), [(59.0, ()), (60.0, ("idle",))])
def test_idle_holder_is_revoked_at_its_time(now_s: float, revoked: tuple[str, ...]) -> None:
    shares = shared_out([ask("idle", held=True, idle_since_s=0.0), ask("waits")], 1, 0, now_s)
    assert shares.revoked == revoked
    assert shares.next_idle_s == (None if revoked else 1.0)


def test_no_more_are_revoked_than_wait() -> None:
    idle = [ask(f"idle{n}", held=True, idle_since_s=float(n)) for n in range(3)]
    assert shared_out([*idle, ask("waits")], 3, 0, 1000).revoked == ("idle0",)


def test_lowered_concurrency_takes_idle_runners_back_and_no_others() -> None:
    asking = [ask("works", held=True), ask("idle", held=True, idle_since_s=0.0)]
    shares = shared_out(asking, 1, 0, 1000)
    assert (shares.revoked, shares.granted) == (("idle",), ())


ASKING = st.builds(
    Asking,
    uid=st.uuids().map(str),
    namespace=st.sampled_from("abc"),
    priority=st.integers(-2, 2),
    asked_s=st.floats(0, 100),
    held=st.booleans(),
    idle_since_s=st.none() | st.floats(0, 100),
)


@given(asking=st.lists(ASKING, max_size=12), slots=st.integers(0, 6), others=st.integers(0, 6))
def test_nobody_is_forgotten_and_no_slot_given_twice(asking: list[Asking], slots: int, others: int) -> None:
    shares = shared_out(asking, slots, others, 1000.0)
    held = [claim.uid for claim in asking if claim.held]
    assert len(shares.granted) <= max(0, slots - others - len(held))
    assert Counter([*shares.granted, *shares.waiting, *held]) == Counter(claim.uid for claim in asking)
    assert set(shares.revoked) <= set(held)
    free = slots - others - len(held) - len(shares.granted)
    assert not shares.waiting or free <= 0


@given(asking=st.lists(ASKING, max_size=12), slots=st.integers(1, 6))
def test_nobody_of_lower_priority_is_served_before_a_higher_one(asking: list[Asking], slots: int) -> None:
    shares = shared_out(asking, slots, 0, 1000.0)
    priority = {claim.uid: claim.priority for claim in asking}
    lowest = min((priority[uid] for uid in shares.granted), default=2)
    assert all(priority[uid] <= lowest for uid in shares.waiting)
