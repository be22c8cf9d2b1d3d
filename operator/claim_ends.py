"""When a RunnerClaim ends: its agent is done or gone, its runner ended, or the machines failed too often.

`turns.py` leaves claims with an end out, `claims.py` writes it down. A claim that idles while others wait ends, too,
but that is the limiter's word.
"""

from collections.abc import Iterator
from datetime import datetime

from everforge.model.runner_claim import ClaimPhase, RunnerClaim
from everforge.operator.actions import Action, DeleteClaim, Requeue
from everforge.operator.attempts import tried
from everforge.operator.claim_status import Standing
from everforge.operator.observed import Observed, Pod
from everforge.operator.optimizations import is_over
from everforge.operator.settings import Settings
from everforge.operator.troubles import End, Ending

# An agent reads within seconds that its claim has ended; afterwards the object says nothing to anybody.
FINISHED_CLAIM_S = 300.0


def end_of(claim: RunnerClaim, observed: Observed, settings: Settings) -> Standing | None:
    """What a claim ended as, or what ends it now; None for one that goes on."""
    status = claim.status
    if status is not None and status.phase.is_finished:
        return Standing(status.phase, status.phase.value, status.message or "")
    if claim.spec.released:
        return Standing(ClaimPhase.RELEASED, "Released", "the agent is done with the runner")
    if (why := _orphaned(claim, observed)) is not None:
        return Standing(ClaimPhase.RELEASED, "OwnerGone", why)
    return _worn_out(tried(observed.jobs_owned_by(claim.metadata.uid), observed), settings)


def removal(claim: RunnerClaim, now: datetime) -> Iterator[Action]:
    """Finished claims are deleted once nobody can want to read them."""
    status = claim.status
    if status is None or not status.conditions:
        return
    since = max(condition.last_transition_time for condition in status.conditions)
    left_s = FINISHED_CLAIM_S - (now - since).total_seconds()
    if left_s > 0:
        yield Requeue(left_s)
    else:
        yield DeleteClaim(claim.metadata.namespace, claim.metadata.name, claim.metadata.uid or "")


def _orphaned(claim: RunnerClaim, observed: Observed) -> str | None:
    """Why nobody needs the runner any more."""
    name, owner = claim.spec.owner.name, observed.owner_of(claim)
    if owner is None:
        return f"KernelOptimization {name} is gone"
    if owner.spec.suspend:
        return f"KernelOptimization {name} is suspended"
    if is_over(owner):
        return f"KernelOptimization {name} has ended"
    requester = claim.spec.requester
    if requester is not None and not any(_is_requester(pod, claim) for pod in observed.pods):
        return f"pod {requester} of the agent is gone"
    return None


def _is_requester(pod: Pod, claim: RunnerClaim) -> bool:
    here = pod.namespace == claim.metadata.namespace and pod.name == claim.spec.requester
    return here and pod.role == "agent" and pod.occupies


def _worn_out(endings: tuple[Ending, ...], settings: Settings) -> Standing | None:
    """The end of a claim whose runners ended by themselves, or failed as often as is tried."""
    if not endings:
        return None
    last = endings[-1]
    if last.end is End.DONE:
        # It told its client that it goes; that one asks again by a new claim if it needs another.
        return Standing(ClaimPhase.REVOKED, "RunnerEnded", "the runner ended by itself; a new claim gets another")
    if last.end is End.REFUSED:
        return Standing(ClaimPhase.FAILED, "Failed", f"the runner refuses its arguments: {last.told}; compare versions")
    if len(endings) < settings.max_attempts:
        return None
    nodes = ", ".join(sorted({ending.node for ending in endings if ending.node})) or "no node"
    why = f"{len(endings)} runners failed, on {nodes}: {last.told or 'no reason given'}; repair the nodes"
    return Standing(ClaimPhase.FAILED, "Failed", why)
