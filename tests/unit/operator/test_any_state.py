"""Properties of one decision from any state of a cluster, also one that no operator can have brought about.

Jobs whose attempts contradict each other, claims bound to nothing, statuses of another operator, owners that are gone:
what is decided is allowed by the API server, ends nothing that has ended otherwise, gives no slot away twice, and
repeated until nothing is written it comes to rest.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everforge.model.device_pool import DevicePoolStatus
from everforge.model.kopt_status import KernelOptimizationStatus, TargetState
from everforge.model.manifest import KernelOptimization
from everforge.model.runner_claim import ClaimPhase, RunnerClaimStatus
from everforge.operator.actions import Action, CreateJob, PatchStatus, Requeue
from everforge.operator.decide import decide
from everforge.operator.observation import observe
from everforge.operator.targets import spec_hash

KOPT, POOL, CLAIM = "KernelOptimization", "DevicePool", "RunnerClaim"
SPACES, POOLS = ("team-a", "team-b"), ("cpu", "big")
STATUSES = {KOPT: KernelOptimizationStatus, POOL: DevicePoolStatus, CLAIM: RunnerClaimStatus}
EXITS = (0, 2, 20, 21, 22, 137, 143)
# When the clock of a new world stands.
NOW_S = 1_790_000_000
GHOST = "no-such-uid"

# Waits between attempts are minutes, and retention is an hour.
times = (st.integers(0, 9) | st.integers(0, 400) | st.integers(0, 20_000_000)).map(
    lambda ago_s: datetime.fromtimestamp(NOW_S - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
)
few = st.integers(0, 3)
mostly_not = st.sampled_from([False, False, False, True])
seldom_queued = st.sampled_from([None, None, None, "queue"])
pools = st.fixed_dictionaries({"concurrency": st.integers(1, 2), "queueName": seldom_queued})
targets = st.lists(st.sampled_from(POOLS), min_size=1, max_size=2, unique=True)
kopts = st.fixed_dictionaries(
    {
        "space": st.sampled_from(SPACES),
        "pools": targets,
        "suspend": mostly_not,
        "queue": seldom_queued,
        "priority": st.integers(-1, 1),
        "states": st.lists(st.sampled_from(list(TargetState)), min_size=2, max_size=2),
        "succeeded": st.sampled_from([None, "Unknown", "True", "False"]),
        "known": mostly_not,
        "time": times,
    }
)
claims = st.fixed_dictionaries(
    {
        "owner": few,
        "pool": st.sampled_from(["cpu", "cpu", "cpu", "big", "gone"]),
        "ghost": mostly_not,
        "phase": st.sampled_from([None] * 6 + list(ClaimPhase)),
        "idle": st.booleans(),
        "released": mostly_not,
        "idleSeconds": st.sampled_from([0, 60]),
        "requester": st.sampled_from([None, None, None, "no-such-pod", "job-0-pod"]),
        "report": st.none() | few,
        "time": times,
    }
)
jobs = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["agent", "runner", "runner"]),
        "of": few,
        "pool": st.sampled_from(POOLS),
        "attempt": st.integers(1, 6),
        "outdated": st.booleans(),
        "ghost": mostly_not,
        "end": st.sampled_from([None, None, "Complete", "Failed"]),
        "deleting": mostly_not,
        "gone": mostly_not,
        "pod": st.sampled_from([None, None, "Pending", "Running", "Running", "Succeeded", "Failed"]),
        "exit": st.sampled_from(EXITS),
        "says": st.booleans(),
        "time": times,
    }
)
worlds = st.fixed_dictionaries(
    {
        "pools": st.sampled_from([("cpu",), ("cpu", "big"), ("cpu", "big"), ()]).flatmap(
            lambda names: st.fixed_dictionaries(dict.fromkeys(names, pools))
        ),
        "kopts": st.lists(kopts, min_size=1, max_size=3),
        "claims": st.lists(claims, min_size=1, max_size=4),
        "jobs": st.lists(jobs, max_size=6),
        "node": mostly_not.map(lambda missing: not missing),
    }
)
# Many claims that may all have a runner of one pool, of whose Jobs and pods nothing is certain.
live_kopts = kopts.map(lambda part: {**part, "suspend": False, "queue": None, "known": False})
live_claims = claims.map(
    lambda part: {**part, "pool": "cpu", "ghost": False, "released": False, "phase": None, "requester": None}
)
runners = jobs.map(lambda part: {**part, "role": "runner", "end": part["end"] if part["attempt"] > 3 else None})
crowds = st.fixed_dictionaries(
    {
        "pools": st.fixed_dictionaries({"cpu": pools.map(lambda part: {**part, "queueName": None})}),
        "kopts": st.lists(live_kopts, min_size=1, max_size=2),
        "claims": st.lists(live_claims, min_size=2, max_size=4),
        "jobs": st.lists(runners, max_size=3),
        "node": st.just(True),
    }
)


class AnyState:
    """A world put together from drawn parts, whether or not they agree."""

    def __init__(
        self, drawn: Mapping[str, Any], world: Any, make: Callable[..., Any], told: Callable[..., str]
    ) -> None:
        self.world, self.make, self.told = world, make, told
        self.cluster = world.cluster
        if not drawn["node"]:
            self.cluster.remove("Node", "node-1")
        for name, spec in drawn["pools"].items():
            self.cluster.put(POOL, make("dpool", name, **spec))
        self.owners = [self.kopt(f"k{number}", part) for number, part in enumerate(drawn["kopts"])]
        self.claims = [self.claim(f"c{number}", part) for number, part in enumerate(drawn["claims"])]
        for number, part in enumerate(drawn["jobs"]):
            self.job(f"job-{number}", part)

    def kopt(self, name: str, part: Mapping[str, Any]) -> dict[str, Any]:
        spec = {"suspend": part["suspend"], "priority": part["priority"], "queueName": part["queue"]}
        made: dict[str, Any] = self.cluster.put(KOPT, self.make("kopt", name, part["space"], part["pools"], **spec))
        if part["known"]:
            states = zip(part["pools"], part["states"], strict=False)
            made["status"] = {"targets": [{"devicePool": pool, "state": str(state)} for pool, state in states]}
            if part["succeeded"] is not None:
                made["status"]["conditions"] = [_condition("Succeeded", part["succeeded"], part["time"])]
        return made

    def claim(self, name: str, part: Mapping[str, Any]) -> dict[str, Any]:
        owner = self.owners[part["owner"] % len(self.owners)]
        spec: dict[str, Any] = {key: part[key] for key in ("idle", "released", "idleSeconds", "requester")}
        if part["report"] is not None:
            spec["report"] = {"trials": {"finished": part["report"]}}
        made: dict[str, Any] = self.world.claim(name, owner, part["pool"], **spec)
        if part["ghost"]:
            made["spec"]["owner"]["uid"] = GHOST
        made["metadata"]["creationTimestamp"] = part["time"]
        if part["phase"] is not None:
            bound = {"holder": "job-0", "since": part["time"], "address": "http://10.0.0.9:8473"}
            held = bound if part["phase"] is ClaimPhase.BOUND else {}
            truth = str(part["phase"] is ClaimPhase.BOUND)
            conditions = [_condition("Bound", truth, part["time"])]
            made["status"] = {"phase": str(part["phase"]), "conditions": conditions, **held}
        return made

    def job(self, name: str, part: Mapping[str, Any]) -> None:
        of = self.owners if part["role"] == "agent" else self.claims
        if not of:
            return
        owner = of[part["of"] % len(of)]
        meta = owner["metadata"]
        labels = {
            "everforge.dev/role": part["role"],
            "everforge.dev/device-pool": part["pool"] if part["role"] == "agent" else owner["spec"]["pool"],
            "everforge.dev/optimization": meta["name"],
            "everforge.dev/attempt": str(part["attempt"]),
            "everforge.dev/spec": "outdated" if part["outdated"] else _spec_of(owner, part),
        }
        uid = GHOST if part["ghost"] else meta["uid"]
        if part["role"] == "runner":
            labels["everforge.dev/claim-uid"] = uid
        made: dict[str, Any] = {
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": labels,
                "ownerReferences": [{"uid": uid, "controller": True}],
            },
            "spec": {},
        }
        if part["deleting"]:
            made["metadata"]["deletionTimestamp"] = part["time"]
        if part["end"] is not None:
            made["status"] = {"conditions": [_condition(part["end"], "True", part["time"])]}
        put = self.cluster.put("Job", made)
        if part["pod"] is not None:
            self.pod(put, part)
        if part["gone"]:
            # Its pod, if it has one, goes on until garbage collection finds it.
            self.cluster.remove("Job", name, meta["namespace"])

    def pod(self, job: Mapping[str, Any], part: Mapping[str, Any]) -> None:
        meta = job["metadata"]
        owner = {"kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        metadata = {"name": f"{meta['name']}-pod", "labels": meta["labels"], "ownerReferences": [owner]}
        status: dict[str, Any] = {"phase": part["pod"]}
        if part["pod"] == "Running":
            status |= {"podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]}
        elif part["pod"] != "Pending":
            ended = {"exitCode": part["exit"], "message": self.told() if part["says"] else "words"}
            status["containerStatuses"] = [{"state": {"terminated": ended}}]
        made = {"metadata": {**metadata, "namespace": meta["namespace"]}, "spec": {"nodeName": "n"}, "status": status}
        self.cluster.put("Pod", made)

    def decided(self) -> list[Action]:
        """What is decided about everything now, each key by itself."""
        now = self.world.now()
        return [action for key in self.world.all_keys() for action in decide(observe(key, self.cluster), now)]

    def occupied(self, pool: str) -> set[str]:
        """Who may be using a device of a pool, counted by hand: claims, whether or not they are there."""
        found = set()
        for kind in ("Job", "Pod"):
            for made in self.cluster.of_kind(kind):
                labels, status = made["metadata"]["labels"], made.get("status", {})
                over = status.get("phase") in ("Succeeded", "Failed") if kind == "Pod" else bool(status)
                mine = labels.get("everforge.dev/role") == "runner" and labels.get("everforge.dev/device-pool") == pool
                if mine and not over and "kueue.x-k8s.io/queue-name" not in labels:
                    found.add(labels["everforge.dev/claim-uid"])
        return found


def _condition(type_: str, status: str, time: str) -> dict[str, str]:
    return {"type": type_, "status": status, "reason": "Drawn", "message": "", "lastTransitionTime": time}


def _spec_of(owner: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """The hash an agent's Job carries where it is up to date."""
    if owner["kind"] != KOPT:
        return ""
    optimization = KernelOptimization.model_validate(owner)
    target = next((t for t in optimization.spec.targets if t.device_pool == part["pool"]), None)
    return "outdated" if target is None else spec_hash(optimization, target)


@pytest.fixture(scope="module")
def any_state(new_world: Any, make: Any, told: Any) -> Callable[[Mapping[str, Any]], AnyState]:
    return lambda drawn: AnyState(drawn, new_world(), make, told)


# Drawing a world takes longer than deciding about it.
thorough = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(drawn=worlds)
@thorough
def test_deciding_twice_is_deciding_once(drawn: Mapping[str, Any], any_state: Any) -> None:
    state = any_state(drawn)
    assert state.decided() == state.decided()


@given(drawn=crowds | worlds)
@thorough
def test_no_decision_gives_a_slot_away_that_is_taken(drawn: Mapping[str, Any], any_state: Any) -> None:
    state = any_state(drawn)
    made = [action.manifest["metadata"]["labels"] for action in state.decided() if isinstance(action, CreateJob)]
    for pool, spec in drawn["pools"].items():
        taken = state.occupied(pool)
        new = [
            labels["everforge.dev/claim-uid"]
            for labels in made
            if labels["everforge.dev/role"] == "runner"
            and labels["everforge.dev/device-pool"] == pool
            and "kueue.x-k8s.io/queue-name" not in labels
        ]
        assert len(set(new)) == len(new)
        assert not set(new) & taken
        assert not new or len(taken) + len(new) <= spec["concurrency"]


@given(drawn=worlds)
@thorough
def test_no_decision_makes_a_second_agent(drawn: Mapping[str, Any], any_state: Any) -> None:
    state = any_state(drawn)
    at_work = {
        (job["metadata"]["ownerReferences"][0]["uid"], job["metadata"]["labels"]["everforge.dev/device-pool"])
        for job in state.world.jobs("agent")
        if not job.get("status")
    }
    agents = [a.manifest["metadata"] for a in state.decided() if isinstance(a, CreateJob)]
    new = [
        (meta["ownerReferences"][0]["uid"], meta["labels"]["everforge.dev/device-pool"])
        for meta in agents
        if meta["labels"]["everforge.dev/role"] == "agent"
    ]
    assert len(set(new)) == len(new)
    assert not set(new) & at_work


@given(drawn=worlds)
@thorough
def test_what_has_ended_stays_as_it_ended(drawn: Mapping[str, Any], any_state: Any) -> None:
    """An optimization's end is never written again, nor a claim's, nor a target's; and nothing new runs for them."""
    state = any_state(drawn)
    over = {o["metadata"]["uid"] for o in state.cluster.of_kind(KOPT) if _is_over(o)}
    ended = {c["metadata"]["uid"] for c in state.cluster.of_kind(CLAIM) if _phase(c).is_finished}
    rows = {
        (o["metadata"]["uid"], row["devicePool"]): row["state"]
        for o in state.cluster.of_kind(KOPT)
        for row in o.get("status", {}).get("targets", [])
        if TargetState(row["state"]).is_finished
    }
    for action in state.decided():
        if isinstance(action, PatchStatus):
            assert action.about.uid not in over | ended
            for row in action.status.get("targets", []):
                assert row["state"] == rows.get((action.about.uid, row["devicePool"]), row["state"])
        elif isinstance(action, CreateJob):
            owner = action.manifest["metadata"]["ownerReferences"][0]["uid"]
            assert owner not in over | ended
            assert (owner, action.manifest["metadata"]["labels"]["everforge.dev/device-pool"]) not in rows


@given(drawn=worlds)
@thorough
def test_every_status_that_is_written_is_one_the_api_server_takes(drawn: Mapping[str, Any], any_state: Any) -> None:
    """A status that breaks a rule of the schema would be refused for ever, and the object be stuck with it."""
    state = any_state(drawn)
    before = {o["metadata"]["uid"]: o for kind in STATUSES for o in state.cluster.of_kind(kind)}
    for action in state.decided():
        if not isinstance(action, PatchStatus):
            continue
        STATUSES[action.about.kind].read(action.status)
        old = before[action.about.uid]
        if action.about.kind == CLAIM:
            assert _phase(old).may_become(ClaimPhase(action.status["phase"]))
        for row in old.get("status", {}).get("targets", []):
            after = {new["devicePool"]: TargetState(new["state"]) for new in action.status["targets"]}
            assert TargetState(row["state"]).may_become(after[row["devicePool"]])


@given(drawn=crowds | worlds)
@settings(thorough, max_examples=80)
def test_every_state_comes_to_rest_with_no_more_runners_than_slots(drawn: Mapping[str, Any], any_state: Any) -> None:
    state = any_state(drawn)
    for seconds in (0, 30, 400, 400, 4000):
        state.world.clock.time_s += seconds
        state.world.rest(rounds=40)
        looks = state.decided()
        assert all(isinstance(action, Requeue) for action in looks)
        # Nor does time alone give anything to write, before the time that was asked for.
        if all(action.after_s > 2 for action in looks):
            state.world.clock.time_s += 1
            assert all(isinstance(action, Requeue) for action in state.decided())
    for pool, spec in drawn["pools"].items():
        # Runners that were there beyond the slots are left at work; none are added to them.
        before = sum(part["role"] == "runner" for part in drawn["jobs"])
        assert len(state.occupied(pool)) <= max(spec["concurrency"], before)


def _is_over(found: Mapping[str, Any]) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(c["type"] == "Succeeded" and c["status"] != "Unknown" for c in conditions)


def _phase(claim: Mapping[str, Any]) -> ClaimPhase:
    return ClaimPhase(claim.get("status", {}).get("phase", "Pending"))
