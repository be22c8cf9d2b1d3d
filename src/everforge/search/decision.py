"""What a campaign does next, decided from what is recorded; no effects and no clock of its own.

`agents/campaign.py` calls `next_step` before every step and carries out what it says.

The rules, in order:
1. A machine that failed three trials in a row ends the campaign; a trial it failed is tried once more.
2. A champion confirmed at the target speedup ends it, or one as close to the speed of light as was asked for; a
   trial that got there is re-measured at once.
3. A search that has stood still for as long as the manifest allows proposes nothing more.
   Otherwise a generator proposes: the built-in one first, then whichever has had fewest candidates judged.
   Wall time and device time are kept back for the champion's re-measurement.
4. With nothing left to propose or to spend, the best `faster` trial is re-measured before it is named
   champion. If that does not confirm it the next best is tried, three in a row at most.
5. Where the machine has two devices of the kind, a re-measured trial that is still `faster` is re-measured on the
   other one too: a champion is `faster` on both.
"""

from collections.abc import Callable

from pydantic import Field

from everforge.model.base import Record
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignSpec, StopReason
from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Fault
from everforge.search.history import History, speedup_of
from everforge.search.stop_rules import reaches, standstill

MAX_FAILURES_IN_A_ROW = 3
MAX_REFUTED_IN_A_ROW = 3
# A model that five times in a row gave no code, or code already judged, is going round in circles.
MAX_BARREN_IN_A_ROW = 5
# The next trial is expected to cost what the dearest of the latest five did.
ESTIMATE_WINDOW = 5


class Propose(Record):
    """Ask a generator for a candidate and evaluate it."""

    generator: GeneratorKind


class Retry(Record):
    """Evaluate a candidate again that the machine failed."""

    trial: Trial


class Confirm(Record):
    """Re-measure a `faster` trial in a fresh process, on fresh seeds and the held-out variants."""

    trial: Trial
    elsewhere: bool = Field(False, description="On another device of its kind than the search's")


class Stop(Record):
    """End the campaign; `fault` says whose it is where the machine kept failing."""

    reason: StopReason
    detail: str
    fault: Fault | None = None


Step = Propose | Retry | Confirm | Stop


class Dry(Record):
    """Why a generator gives nothing more in this sitting."""

    reason: StopReason
    detail: str


class SearchState(Record):
    """All a decision is made from. A sitting is one run of the loop; a resumed campaign has several."""

    spec: CampaignSpec
    trials: tuple[Trial, ...] = ()
    spent: Spend = Spend()
    dry: dict[GeneratorKind, Dry] = Field(default_factory=dict)
    wasted: dict[GeneratorKind, int] = Field(
        default_factory=dict, description="Proposals in a row that held no candidate"
    )
    forgiven_before: int = Field(0, description="First trial whose machine failures count")
    two_devices: bool = Field(False, description="Whether a champion must be confirmed on another device too")

    @property
    def history(self) -> History:
        """What the trials say."""
        return History(self.trials, self.forgiven_before, self.two_devices)


def next_step(state: SearchState) -> Step:
    """What to do next; the same state always gives the same step."""
    history = state.history
    if history.failures_in_a_row() >= MAX_FAILURES_IN_A_ROW:
        return _machine_stop(history)
    if (met := _goal_step(state, history)) is not None:
        return met
    enough = _enough(state, history)
    pending = history.pending_retry()
    if enough is None and pending is not None:
        return Retry(trial=pending)
    generator = next_generator(state, history)
    if enough is None and generator is not None:
        return Propose(generator=generator)
    return _closing_step(state, history, enough)


def next_generator(state: SearchState, history: History) -> GeneratorKind | None:
    """Whose turn it is: of those not dry, the one with fewest candidates judged; built-in before llm."""
    live = [kind for kind in state.spec.generators if _dryness(state, history, kind) is None]
    order = [GeneratorKind.BUILTIN, GeneratorKind.LLM, GeneratorKind.USER]
    return min(live, key=lambda kind: (history.proposed_by(kind), order.index(kind)), default=None)


def trial_estimate(state: SearchState) -> Spend:
    """What the next trial is expected to cost: one trial, and the time of the dearest recent one."""
    recent = [trial.spend for trial in state.trials if trial.spend.device_seconds > 0][-ESTIMATE_WINDOW:]
    return Spend(
        trials=1,
        seconds=max((spend.seconds for spend in recent), default=0.0),
        device_seconds=max((spend.device_seconds for spend in recent), default=0.0),
    )


def confirmation_estimate(state: SearchState) -> Spend:
    """What a re-measurement is expected to cost: a trial's time, and no trial of the budget."""
    return trial_estimate(state).model_copy(update={"trials": 0})


def confirmations_estimate(state: SearchState) -> Spend:
    """What naming a champion is expected to cost: a re-measurement on each device it needs."""
    once = confirmation_estimate(state)
    return once.plus(once) if state.two_devices else once


def search_refusal(state: SearchState) -> str | None:
    """Why no further candidate may be tried under the budget, or None if one may."""
    ahead = trial_estimate(state).plus(confirmations_estimate(state))
    return state.spec.budget.refusal(state.spent, ahead)


def _goal_step(state: SearchState, history: History) -> Step | None:
    target, sol_fraction = state.spec.target_speedup, state.spec.search.sol_fraction
    champion = history.champion()
    if champion is not None and reaches(champion, target, None):
        detail = f"a champion was confirmed at {speedup_of(champion):.2f}x; the target is {target:.2f}x"
        return Stop(reason=StopReason.TARGET, detail=detail)
    if champion is not None and reaches(champion, None, sol_fraction):
        reached = champion.evaluation.sol_fraction
        detail = f"a champion was confirmed at {reached:.0%} of the roofline's rate; {sol_fraction:.0%} was asked for"
        return Stop(reason=StopReason.LIGHT, detail=detail)
    return _confirmation(state, history, lambda trial: reaches(trial, target, sol_fraction))


def _enough(state: SearchState, history: History) -> Stop | None:
    """Why no further candidate is to be tried, None if one is."""
    if (refusal := search_refusal(state)) is not None:
        return Stop(reason=StopReason.BUDGET, detail=refusal)
    plateau = state.spec.search.plateau
    if plateau is not None and (why := standstill(history, plateau)) is not None:
        return Stop(reason=StopReason.PLATEAU, detail=why)
    return None


def _confirmation(state: SearchState, history: History, is_due: Callable[[Trial], bool]) -> Confirm | None:
    """The re-measurement that is due and can be paid: one that only lacks another device, then the challenger's."""
    if history.refuted_in_a_row() >= MAX_REFUTED_IN_A_ROW:
        return None
    half, challenger = history.half_confirmed(), history.challenger()
    if half is not None and is_due(half):
        return Confirm(trial=half, elsewhere=True) if _refusal_to_confirm(state, half) is None else None
    if challenger is not None and is_due(challenger):
        return Confirm(trial=challenger) if _refusal_to_confirm(state, challenger) is None else None
    return None


def _closing_step(state: SearchState, history: History, enough: Stop | None) -> Step:
    stop = enough or _dried_up(state, history)
    if (confirm := _confirmation(state, history, lambda trial: speedup_of(trial) >= 1.0)) is not None:
        return confirm
    parts = [stop.detail]
    if (unconfirmed := history.half_confirmed() or history.challenger()) is not None:
        parts.append(_unconfirmed_detail(state, unconfirmed))
    if history.champion() is None and (given_up := history.given_up_elsewhere()) is not None:
        parts.append(f"trial {given_up.number} ({speedup_of(given_up):.2f}x) could not be measured on another device")
    if history.champion() is None:
        parts.append("nothing was confirmed faster than the fastest allowed baseline")
    return stop.model_copy(update={"detail": "; ".join(parts)})


def _refusal_to_confirm(state: SearchState, trial: Trial) -> str | None:
    """Why the budget does not allow the re-measurements a trial still needs, one of which may be done; or None."""
    half_done = trial.purpose is Purpose.CHAMPION
    ahead = confirmation_estimate(state) if half_done else confirmations_estimate(state)
    return state.spec.budget.refusal(state.spent, ahead)


def _dried_up(state: SearchState, history: History) -> Stop:
    dry = {kind: _dryness(state, history, kind) for kind in state.spec.generators}
    detail = "; ".join(f"{kind}: {why.detail}" for kind, why in dry.items() if why is not None)
    reasons = {why.reason for why in dry.values() if why is not None}
    if StopReason.MACHINE in reasons and not history.judged:
        return Stop(reason=StopReason.MACHINE, detail=detail, fault=Fault.HARNESS)
    reason = StopReason.BUDGET if StopReason.BUDGET in reasons else StopReason.EXHAUSTED
    return Stop(reason=reason, detail=detail)


def _dryness(state: SearchState, history: History, kind: GeneratorKind) -> Dry | None:
    if (known := state.dry.get(kind)) is not None:
        return known
    barren = max(state.wasted.get(kind, 0), history.repeats_in_a_row(kind))
    if barren < MAX_BARREN_IN_A_ROW:
        return None
    return Dry(reason=StopReason.EXHAUSTED, detail=f"{barren} proposals in a row brought nothing new")


def _machine_stop(history: History) -> Stop:
    last = history.trials[-1].evaluation
    detail = f"the machine failed {history.failures_in_a_row()} trials in a row, the last with: {last.reason}"
    return Stop(reason=StopReason.MACHINE, detail=detail, fault=last.fault)


def _unconfirmed_detail(state: SearchState, trial: Trial) -> str:
    refusal = _refusal_to_confirm(state, trial)
    if refusal is None:
        return f"the latest {MAX_REFUTED_IN_A_ROW} re-measurements did not repeat the search's figures"
    where = " on another device" if trial.purpose is Purpose.CHAMPION else ""
    return f"trial {trial.number} ({speedup_of(trial):.2f}x) could not be re-measured{where}: {refusal}"
