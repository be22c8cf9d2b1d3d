"""What holds for every search policy: the same trials give the same ask, parents exist and are honest, budgets hold."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.lineage import Aim
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.policies.base import Plan, asks
from everforge.search.policies.chosen import policy_of
from everforge.search.policies.map_elites import MapElitesPolicy
from everforge.search.policies.standing import reward
from everforge.search.policies.strategy_tree import ATTEMPTS
from everforge.search.policies.tree import DEEPEST
from everforge.search.simulated.author import answer
from everforge.search.simulated.contest import search
from everforge.search.simulated.landscape import taken_by, tried_in
from everforge.search.simulated.landscapes import DECEPTIVE, FRAGILE, LANDSCAPES
from everforge.testing import samples

LLM = GeneratorKind.LLM
REFUTING = (Verdict.INCORRECT, Verdict.CRASH, Verdict.TAMPERED)

kinds = pytest.mark.parametrize("kind", PolicyKind)


def tell(plan: Plan, number: int, verdict: Verdict, speedup: float) -> Trial:
    """The trial that answers an ask, with two further ideas where it was to plan."""
    planning = plan.aim is Aim.PLAN
    lineage = plan.lineage(f"idea {number}", (f"idea {number}b", f"idea {number}c")) if planning else plan.lineage()
    written = Candidate(
        source=f"kernel {number} " + ("float4" if number % 3 else "atomicAdd __global__"),
        language=samples.Language.CUDA,
        generator=LLM,
        parent=plan.parent,
        lineage=lineage,
    )
    return samples.trial(number, verdict=verdict, speedup=speedup, proposed=written)


def refutation(of: Trial, number: int, verdict: Verdict) -> Trial:
    return samples.trial(number, verdict=verdict, purpose=Purpose.CHAMPION, proposed=of.candidate)


@st.composite
def histories(draw: st.DrawFn, kind: PolicyKind) -> tuple[Trial, ...]:
    """Any course that a campaign of a policy can take: every verdict, re-measurements that refute, other generators."""
    recorded: tuple[Trial, ...] = ()
    for number in range(draw(st.integers(0, 14))):
        verdict, speedup = draw(st.sampled_from(Verdict)), draw(st.floats(0.2, 5))
        correct = [t for t in recorded if t.purpose is Purpose.SEARCH and t.evaluation.verdict.is_correct]
        if correct and draw(st.integers(0, 5)) == 0:
            refuting = draw(st.sampled_from(REFUTING))
            recorded += (refutation(draw(st.sampled_from(correct)), number, refuting),)
        elif draw(st.integers(0, 5)) == 0:
            recorded += (samples.trial(number, verdict=verdict, speedup=speedup),)
        else:
            recorded += (tell(policy_of(kind).ask(recorded, (), 0), number, verdict, speedup),)
    return recorded


def dishonest(trials: Sequence[Trial]) -> set[str]:
    """Trials nobody may build on: of candidates that cheated, and searches that a re-measurement refuted."""
    cheats = {t.candidate.digest for t in trials if t.evaluation.verdict is Verdict.TAMPERED}
    refuted = {t.candidate.digest for t in trials if t.purpose is Purpose.CHAMPION}
    return {
        t.trial_id
        for t in trials
        if t.candidate.digest in cheats and t.evaluation.verdict in (Verdict.TAMPERED, *_CORRECT)
    } | {t.trial_id for t in trials if t.candidate.digest in refuted and t.purpose is Purpose.SEARCH}


_CORRECT = (Verdict.FASTER, Verdict.SLOWER, Verdict.INCONCLUSIVE)


@kinds
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_parents_exist_and_none_of_them_cheated_or_was_refuted(kind: PolicyKind, data: st.DataObject) -> None:
    seen = data.draw(histories(kind))
    by_id = {trial.trial_id: trial for trial in seen}
    for plan in asks(policy_of(kind), seen, (), seed=data.draw(st.integers(0, 9)), room=3):
        for named in (plan.parent, *plan.inspirations):
            assert named is None or named in by_id
            assert named not in dishonest(seen)
        if plan.parent is not None:
            is_correct = by_id[plan.parent].evaluation.verdict.is_correct
            assert is_correct is (plan.aim is not Aim.REPAIR)


@kinds
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_same_trials_and_seed_give_the_same_asks_also_after_a_restart(kind: PolicyKind, data: st.DataObject) -> None:
    seen = data.draw(histories(kind))
    stored = tuple(Trial.model_validate_json(trial.model_dump_json()) for trial in seen)
    seed = data.draw(st.integers(0, 9))
    assert list(asks(policy_of(kind), seen, (), seed, 3)) == list(asks(policy_of(kind), stored, (), seed, 3))


@kinds
@settings(max_examples=30, deadline=None)
@given(data=st.data(), in_flight=st.integers(0, 5), room=st.integers(0, 5))
def test_never_more_is_asked_than_the_budget_has_room_for(
    kind: PolicyKind, data: st.DataObject, in_flight: int, room: int
) -> None:
    seen, policy = data.draw(histories(kind)), policy_of(kind)
    waiting = tuple(asks(policy, seen, (), 0, in_flight))
    new = list(asks(policy, seen, waiting, 0, room))
    assert len(new) == max(0, room - in_flight)
    numbers = [plan.number for plan in (*waiting, *new)]
    answered = [trial.candidate.lineage.number for trial in seen if trial.candidate.lineage is not None]
    assert len({*numbers, *answered}) == len(numbers) + len(set(answered))


@kinds
def test_search_resumes_from_any_prefix_with_the_asks_it_would_have_made(kind: PolicyKind) -> None:
    whole = search(FRAGILE, policy_of(kind), seed=3, trials=24)
    for cut, trial in enumerate(whole):
        plan = policy_of(kind).ask(whole[:cut], (), 3)
        made = trial.candidate.lineage
        assert made is not None
        assert (plan.number, plan.aim, plan.reason) == (made.number, made.aim, made.reason)
        assert (plan.parent, plan.inspirations) == (trial.candidate.parent, made.inspirations)


@kinds
def test_asks_that_a_kill_left_unanswered_are_made_anew_under_their_numbers(kind: PolicyKind) -> None:
    seen = search(FRAGILE, policy_of(kind), seed=3, trials=10, in_flight=4)
    lost = list(asks(policy_of(kind), seen, (), 3, 4))
    assert list(asks(policy_of(kind), seen, (), 3, 4)) == lost
    assert list(asks(policy_of(kind), seen, lost[:2], 3, 4)) == lost[2:]


@kinds
def test_failed_candidate_is_mended_three_times_at_most_before_something_else_is_tried(kind: PolicyKind) -> None:
    seen: tuple[Trial, ...] = (samples.trial(0),)
    repairs = {seen[0].trial_id: 0}
    for number in range(1, 24):
        plan = policy_of(kind).ask(seen, (), 0)
        seen += (tell(plan, number, Verdict.COMPILE_ERROR, 1.0),)
        repairs[seen[-1].trial_id] = repairs[plan.parent] + 1 if plan.parent and plan.aim is Aim.REPAIR else 0
    assert 2 <= max(repairs.values()) <= 3


@kinds
def test_candidate_that_cheated_is_not_repaired(kind: PolicyKind) -> None:
    plan = policy_of(kind).ask((), (), 0)
    assert policy_of(kind).ask((tell(plan, 0, Verdict.TAMPERED, 1.0),), (), 0).aim is not Aim.REPAIR


@kinds
def test_two_asks_in_flight_do_not_repair_the_same_candidate(kind: PolicyKind) -> None:
    policy = policy_of(kind)
    seen: tuple[Trial, ...] = (samples.trial(0),)
    seen += (tell(policy.ask(seen, (), 0), 1, Verdict.CRASH, 1.0),)
    repaired = [plan.parent for plan in asks(policy, seen, (), 0, 4) if plan.aim is Aim.REPAIR]
    assert repaired == list(dict.fromkeys(repaired))


def test_island_learns_of_its_neighbours_champion_only_when_it_migrates() -> None:
    policy = MapElitesPolicy(islands=2, founders=0, migration_every=4)
    seen: tuple[Trial, ...] = ()
    parents: dict[int, set[str | None]] = {}
    for number in range(8):
        plan = policy.ask(seen, (), 0)
        assert plan.island == number % 2
        parents[number] = {policy.ask(seen, (), seed).parent for seed in range(20)}
        seen += (tell(plan, number, Verdict.FASTER, 5.0 if plan.island == 0 else 1.5 + number / 10),)
    champion = seen[0].trial_id
    assert champion not in parents[1] | parents[3]
    assert champion in parents[5]


def test_slower_candidate_that_goes_about_it_differently_stays_in_the_archive() -> None:
    policy = policy_of(PolicyKind.MAP_ELITES)
    fast = samples.trial(0, speedup=3.0, proposed=_kernel(0, "float4 v = p[i];"))
    other = samples.trial(1, speedup=0.7, proposed=_kernel(1, "atomicAdd(y, v);"))
    worse = samples.trial(2, speedup=0.6, proposed=_kernel(2, "atomicAdd(z, v);"))
    parents = {policy.ask((fast, other, worse), (), seed).parent for seed in range(40)}
    assert parents == {fast.trial_id, other.trial_id}


def _kernel(number: int, line: str) -> Candidate:
    source = f"__global__ void kernel{number}() {{ {line} }}"
    return Candidate(source=source, language=samples.Language.CUDA, generator=LLM)


def test_good_idea_survives_a_broken_implementation() -> None:
    policy = policy_of(PolicyKind.TREE)
    plan = policy.ask((), (), 0)
    seen: tuple[Trial, ...] = (tell(plan, 0, Verdict.COMPILE_ERROR, 1.0),)
    tried: list[tuple[Aim, str | None]] = []
    while len(seen) < 20:
        plan = policy.ask(seen, (), 0)
        if plan.strategy == "0.0":
            tried.append((plan.aim, plan.idea))
        seen += (tell(plan, len(seen), Verdict.CRASH, 1.0),)
    assert tried == [(Aim.REPAIR, "idea 0"), (Aim.REPAIR, "idea 0"), (Aim.WRITE, "idea 0")]


def test_every_planned_idea_is_tried_before_more_are_planned_at_that_place() -> None:
    policy = policy_of(PolicyKind.TREE)
    first = policy.ask((), (), 0)
    assert first.aim is Aim.PLAN
    seen: tuple[Trial, ...] = (tell(first, 0, Verdict.CRASH, 1.0),)
    coded = {first.strategy}
    while (plan := policy.ask(seen, (), 0)).aim is not Aim.PLAN:
        coded.add(plan.strategy)
        seen += (tell(plan, len(seen), Verdict.CRASH, 1.0),)
    assert coded == {"0.0", "0.1", "0.2"}
    assert len(seen) == 3 * ATTEMPTS


def test_ideas_upon_ideas_end_at_a_depth_that_every_record_can_hold() -> None:
    policy = policy_of(PolicyKind.TREE)
    seen: tuple[Trial, ...] = ()
    for number in range(DEEPEST + 8):
        seen += (tell(policy.ask(seen, (), 0), number, Verdict.FASTER, 0.1 * 1.08**number),)
    depths = [1 + (trial.candidate.lineage.strategy or "").count("/") for trial in seen if trial.candidate.lineage]
    assert max(depths) == DEEPEST
    assert policy.ask(seen, (), 0).aim is Aim.OPTIMISE


def test_planning_names_what_is_known_so_that_it_is_not_named_again() -> None:
    policy = policy_of(PolicyKind.TREE)
    trials = search(DECEPTIVE, policy, seed=0, trials=30)
    for cut in range(30):
        plan = policy.ask(trials[:cut], (), 0)
        below = [t.candidate.lineage for t in trials[:cut]]
        if plan.aim is Aim.PLAN and plan.strategy is not None:
            above = plan.strategy.rpartition("/")[0]
            siblings = {
                one.idea for one in below if one is not None and (one.strategy or "").rpartition("/")[0] == above
            }
            assert siblings - {None} <= set(plan.known)


def test_reward_is_of_the_roofline_and_twice_as_fast_is_worth_the_same_anywhere() -> None:
    def at(fraction: float | None, speedup: float = 1.0) -> float:
        timed = samples.trial(0, speedup=speedup)
        return reward(timed.model_copy(update={"evaluation": _at_light(timed, fraction)}))

    assert (at(1.0), at(0.01), at(0.001)) == (1.0, 0.0, 0.0)
    assert at(0.4) - at(0.2) == pytest.approx(at(0.1) - at(0.05))
    assert at(None, 2.0) - at(None, 1.0) == pytest.approx(at(None, 1.0) - at(None, 0.5))


def _at_light(trial: Trial, fraction: float | None) -> object:
    return trial.evaluation.model_copy(update={"sol_fraction": fraction})


@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("name", LANDSCAPES)
def test_simulated_model_keeps_to_the_landscape(name: str, in_flight: int) -> None:
    known = LANDSCAPES[name]
    trials = search(known, policy_of(PolicyKind.TREE), seed=1, trials=80, in_flight=in_flight)
    for trial in trials:
        taken = taken_by(trial.candidate.source)
        assert all(known.by_name[name].needs <= taken for name in taken)
        assert not any(known.by_name[name].clashes & taken for name in taken)
        assert known.speedup(taken) <= known.best


def test_simulated_model_codes_the_idea_it_is_given() -> None:
    plan = Plan(policy=PolicyKind.TREE, aim=Aim.WRITE, number=0, reason="", idea="tiles", strategy="0.0")
    given = answer(DECEPTIVE, plan, (), random.Random(0))
    assert tried_in(given.candidate.source) == "tiles"
    assert taken_by(given.candidate.source) == {"tiles"}


@kinds
def test_every_kind_has_a_policy_of_that_kind(kind: PolicyKind) -> None:
    assert policy_of(kind).kind is kind
