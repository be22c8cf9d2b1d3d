"""Properties of the operator, whatever happens to a cluster and in whatever order.

It comes to rest, and deciding again at rest changes nothing; a pool never has more runners than it allows; an end is
final; one campaign never has two agents; killed after any of its writes and started again, it ends where it would have.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everforge.operator.actions import EmitEvent, PatchStatus, Requeue
from everforge.operator.decide import decide
from everforge.operator.observation import observe
from everforge.testing.simulated_cluster import Stopped

KOPT, POOL, CLAIM = "KernelOptimization", "DevicePool", "RunnerClaim"
CONCURRENCY = 1
NAMESPACES = ("team-a", "team-b")
EXITS = (0, 2, 20, 21, 22, 137, 143)
USERS = ("apply", "suspend", "resume", "edit", "remove", "pool", "nopool")
CLAIMS = ("claim", "idle", "busy", "release", "forget", "forge")
PODS = ("run", "finish", "kill")
CLUSTER = ("quota", "unquota", "node", "nonode", "wait", "settle", "lost")
# What makes runners and agents is drawn more often, or most stories have none.
OFTEN = ("apply", "apply", "claim", "claim", "claim", "claim", "run", "run", "settle", "forget", "edit")
# After each step the operator looks at nothing, at everything, or at everything and Kubernetes' controllers act.
LOOKS = ("", "look", "look", "round")
STEP = st.tuples(st.sampled_from(USERS + CLAIMS + PODS + CLUSTER + OFTEN), st.integers(0, 5), st.sampled_from(LOOKS))


class Story:
    """A world to which things happen; the operator looks at one key at a time, as its queue would have it."""

    def __init__(self, world: Any, make: Callable[..., dict[str, Any]], told: Callable[..., str]) -> None:
        self.world, self.make, self.told = world, make, told
        self.cluster = world.cluster
        self.claims = 0
        self.ends: dict[str, str] = {}
        self.pool()

    def pool(self) -> None:
        self.cluster.put(POOL, self.make("dpool", concurrency=CONCURRENCY))

    def happens(self, what: str, number: int, look: str) -> None:
        if what in USERS:
            self.to_objects(what, f"k{number // 2}", NAMESPACES[number % 2], number)
        elif what in CLAIMS:
            self.to_claims(what, number)
        elif what in PODS:
            self.to_pods(what, number)
        else:
            self.to_cluster(what, number)
        if look == "look":
            for key in self.world.all_keys():
                self.world.operator.reconcile(key)
        elif look == "round":
            self.world.round()

    def to_objects(self, what: str, name: str, namespace: str, number: int) -> None:
        match what:
            case "apply" | "resume":
                self.cluster.put(KOPT, self.make("kopt", name, namespace))
            case "suspend":
                self.cluster.put(KOPT, self.make("kopt", name, namespace, suspend=True))
            case "edit":
                self.cluster.put(KOPT, self.make("kopt", name, namespace, budget={"trials": 50 + number}))
            case "remove":
                self.cluster.remove(KOPT, name, namespace)
            case "pool":
                self.pool()
            case "nopool":
                self.cluster.remove(POOL, "cpu")

    def to_cluster(self, what: str, number: int) -> None:
        match what:
            case "quota" | "unquota":
                self.cluster.refusing = "exceeded quota: small" if what == "quota" else None
            case "node":
                self.cluster.put("Node", self.make("node", "node-1"))
            case "nonode":
                self.cluster.remove("Node", "node-1")
            case "wait":
                self.world.clock.time_s += (1, 10, 60, 300, 900, 4000)[number]
            case "settle":
                self.cluster.settle()
            case "lost":
                self.stopped_at(number + 1)

    def to_claims(self, what: str, number: int) -> None:
        owners, claims = self.cluster.of_kind(KOPT), self.cluster.of_kind(CLAIM)
        if what == "claim" and owners:
            self.claims += 1
            self.world.claim(f"c{self.claims}", owners[number % len(owners)], priority=number)
        elif claims and what != "claim":
            self.to_claim(what, claims[number % len(claims)])

    def to_claim(self, what: str, claim: dict[str, Any]) -> None:
        match what:
            case "idle" | "busy":
                claim["spec"]["idle"] = what == "idle"
            case "release":
                claim["spec"]["released"] = True
            case "forget":
                self.cluster.remove(CLAIM, claim["metadata"]["name"], claim["metadata"]["namespace"])
            case "forge":
                # A status nobody can have written: the operator goes by what is there.
                claim.pop("status", None)

    def to_pods(self, what: str, number: int) -> None:
        pods = self.cluster.of_kind("Pod")
        if not pods:
            return
        pod = pods[number % len(pods)]
        agent = pod["metadata"]["labels"]["everforge.dev/role"] == "agent"
        match what:
            case "run":
                self.cluster.run(pod)
            case "finish":
                code = EXITS[number % len(EXITS)]
                self.cluster.finish(pod, code, self.told() if agent and code == 0 else "said")
            case "kill":
                self.cluster.kill(pod)

    def stopped_at(self, writes: int) -> None:
        """The operator is killed right after a write, and another one starts."""
        self.cluster.stop_after = self.cluster.writes + writes
        try:
            for key in self.world.all_keys():
                self.world.operator.reconcile(key)
        except Stopped:
            self.world.operator = self.world.new_operator()
        finally:
            self.cluster.stop_after = None

    def check(self) -> None:
        assert self.runners() <= CONCURRENCY
        agents = [job for job in self.world.jobs("agent") if not job.get("status")]
        owners = {job["metadata"]["ownerReferences"][0]["uid"] for job in agents}
        assert len(owners) == len(agents)
        self.check_ends()

    def runners(self) -> int:
        jobs = [job for job in self.world.jobs("runner") if not job.get("status")]
        return len({job["metadata"]["labels"]["everforge.dev/claim-uid"] for job in jobs})

    def check_ends(self) -> None:
        """What has ended stays as it ended, and the claims' phases and targets' states, too."""
        seen = {}
        for found in self.cluster.of_kind(KOPT):
            for condition in found.get("status", {}).get("conditions", []):
                if condition["type"] == "Succeeded" and condition["status"] != "Unknown":
                    seen[found["metadata"]["uid"]] = condition["status"] + condition["reason"]
        for uid, end in self.ends.items():
            assert seen.get(uid, end) == end
        alive = {o["metadata"]["uid"] for o in self.cluster.of_kind(KOPT)}
        assert not [uid for uid in self.ends if uid in alive and uid not in seen]
        self.ends.update(seen)

    def calm(self) -> None:
        """Nothing happens any more but time: everything that is to be written is written."""
        self.cluster.refusing = None
        for seconds in (0, 30, 400, 400, 400, 400, 4000):
            self.world.clock.time_s += seconds
            self.world.rest(rounds=30)
            self.check()

    def is_at_rest(self) -> bool:
        """Whether deciding about everything asks for nothing but another look."""
        now = self.world.now()
        actions = [a for key in self.world.all_keys() for a in decide(observe(key, self.cluster), now)]
        return all(isinstance(action, Requeue) for action in actions)


@pytest.fixture(scope="module")
def story(new_world: Any, make: Any, told: Any) -> Callable[[], Story]:
    """Makes a new world each time, for hypothesis keeps a fixture for all its examples."""
    return lambda: Story(new_world(), make, told)


@given(steps=st.lists(STEP, max_size=40))
@settings(max_examples=100)
def test_whatever_happens_the_operator_keeps_its_promises(steps: list[tuple[str, int, str]], story: Any) -> None:
    tale = story()
    for step in steps:
        tale.happens(*step)
        tale.check()
    tale.calm()
    assert tale.is_at_rest()


@given(steps=st.lists(STEP, max_size=30))
@settings(max_examples=40)
def test_a_fair_cluster_brings_every_optimization_to_its_end(steps: list[tuple[str, int, str]], story: Any) -> None:
    tale = story()
    for step in steps:
        tale.happens(*step)
    tale.pool()
    tale.cluster.put("Node", tale.make("node", "node-1"))
    for found in tale.cluster.of_kind(KOPT):
        found["spec"]["suspend"] = False
    for _ in range(12):
        tale.calm()
        for pod in tale.world.pods("agent"):
            tale.cluster.run(pod)
            tale.cluster.finish(pod, 0, tale.told())
    tale.calm()
    for found in tale.cluster.of_kind(KOPT):
        status = {c["type"]: c["status"] for c in found["status"]["conditions"]}
        assert status["Succeeded"] in ("True", "False")
    assert not [job for job in tale.cluster.of_kind("Job") if not job.get("status")]


@given(steps=st.lists(STEP, min_size=5, max_size=25))
@settings(max_examples=40)
def test_two_decisions_from_one_state_are_the_same(steps: list[tuple[str, int, str]], story: Any) -> None:
    tale = story()
    now = tale.world.now()
    for step in steps:
        tale.happens(*step)
        for key in tale.world.all_keys():
            before = copy.deepcopy(tale.cluster.of_kind(CLAIM))
            first, second = (decide(observe(key, tale.cluster), now) for _ in range(2))
            assert first == second
            assert tale.cluster.of_kind(CLAIM) == before
            kinds = [type(action) for action in first]
            assert PatchStatus not in kinds or EmitEvent not in kinds or kinds.index(EmitEvent) < _last(kinds)


def _last(kinds: list[type]) -> int:
    return max(place for place, kind in enumerate(kinds) if kind is PatchStatus)


@pytest.mark.parametrize("stop_after", range(1, 40))
def test_operator_killed_after_any_write_ends_where_it_would_have(stop_after: int, story: Any) -> None:
    assert outcome(story(), stop_after) == outcome(story(), None)


def outcome(tale: Any, stop_after: int | None) -> list[Any]:
    """A campaign on each of two namespaces, a runner for each, to the end; the operator dies once on the way."""
    world = tale.world
    for namespace in NAMESPACES:
        owner = tale.cluster.put(KOPT, tale.make("kopt", "k", namespace))
        world.claim("c", owner)
    tale.cluster.stop_after = stop_after
    for act in (lambda pod: tale.cluster.run(pod), lambda pod: tale.cluster.finish(pod, 0, tale.told())):
        survived(tale)
        for pod in tale.cluster.of_kind("Pod"):
            act(pod)
    survived(tale)
    kinds = (KOPT, CLAIM, POOL, "Job", "Pod", "Secret", "ConfigMap", "Event")
    return [(kind, sorted(_shape(o) for o in tale.cluster.of_kind(kind))) for kind in kinds]


def survived(tale: Any) -> None:
    try:
        tale.world.rest(rounds=30)
    except Stopped:
        tale.cluster.stop_after = None
        tale.world.operator = tale.world.new_operator()
        tale.world.rest(rounds=30)


def _shape(found: dict[str, Any]) -> str:
    """What an object is, without the uids that differ between two worlds, and names made of them."""
    status = found.get("status", {})
    conditions = sorted((c["type"], c["status"], c.get("reason", "")) for c in status.get("conditions", []))
    labels = {k: v for k, v in found["metadata"].get("labels", {}).items() if k != "everforge.dev/claim-uid"}
    namespace = found["metadata"].get("namespace")
    return str((namespace, labels, status.get("phase"), found.get("reason"), conditions))
