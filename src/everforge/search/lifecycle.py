"""The one owner of a campaign's state: which state may follow which, and what a stop makes of it.

`agents/campaign.py` changes state through here alone. SUCCEEDED and FAILED are final: running the campaign
again under another budget, or on a mended machine, is a new sitting that starts from `start_sitting`.
"""

from everforge.errors import EverforgeError
from everforge.model.base import digest_of
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, StopReason
from everforge.model.search_settings import SearchSettings

_FOLLOWS: dict[CampaignState, frozenset[CampaignState]] = {
    CampaignState.RUNNING: frozenset({CampaignState.INTERRUPTED, CampaignState.SUCCEEDED, CampaignState.FAILED}),
    CampaignState.INTERRUPTED: frozenset({CampaignState.RUNNING}),
    CampaignState.SUCCEEDED: frozenset(),
    CampaignState.FAILED: frozenset(),
}


class IllegalTransition(EverforgeError):
    """A state was asked to become one that may not follow it: a defect of the caller."""


def transition(state: CampaignState, to: CampaignState) -> CampaignState:
    """The state after a change. Raises IllegalTransition where `to` may not follow `state`."""
    if to not in _FOLLOWS[state]:
        raise IllegalTransition(f"a campaign that is {state} cannot become {to}")
    return to


def conclude(state: CampaignState, reason: StopReason) -> CampaignState:
    """The state a running campaign ends in for a reason; finding nothing faster is a success too."""
    ends = {StopReason.INTERRUPTED: CampaignState.INTERRUPTED, StopReason.MACHINE: CampaignState.FAILED}
    return transition(state, ends.get(reason, CampaignState.SUCCEEDED))


def spec_digest(spec: CampaignSpec) -> str:
    """Identity of everything asked of a campaign, its budget, target and generators included.

    A search as it always was is left out, so that campaigns from before there was a choice stay settled.
    """
    asked = spec.model_dump(mode="json")
    if spec.search == SearchSettings():
        del asked["search"]
    return digest_of(asked)


def is_settled(previous: CampaignRecord | None, spec: CampaignSpec) -> bool:
    """Whether the campaign already ended under exactly this spec, so that there is nothing to run.

    One that failed is never settled: the machine may have been mended since.
    """
    if previous is None or previous.state is not CampaignState.SUCCEEDED:
        return False
    return previous.spec_digest == spec_digest(spec)


def forgiven_before(previous: CampaignRecord | None, recorded_trials: int) -> int:
    """The first trial whose machine failures count: after a failed sitting only those still to come."""
    failed = previous is not None and previous.state is CampaignState.FAILED
    return recorded_trials if failed else 0
