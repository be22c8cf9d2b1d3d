"""What an agent reports of its campaign, how often, and that nobody waits for it."""

import queue
import threading

from everforge.agents.reporting import Account, reporting
from everforge.model.agent_report import MAX_TROUBLE, AgentReport
from everforge.model.budget import Spend
from everforge.model.candidate import Candidate
from everforge.model.device import DeviceKind
from everforge.model.runner_claim import ClaimOwner, RunnerClaimSpec
from everforge.model.scalars import MAX_VERSION, MAX_VERSIONS
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.events import CampaignStarted, Noted, StageChanged, TaskAccepted, TrialFinished
from everforge.testing import samples

PATIENCE_S = 30.0
SPENT = Spend(trials=2, seconds=61.5, tokens=1200, dollars=0.0421)


GOOD, BEST = (samples.candidate(label) for label in ("good", "best"))


def finished(number: int) -> TrialFinished:
    return TrialFinished(trial=samples.trial(number), spent=SPENT, verdicts={Verdict.FASTER: number + 1})


def measured(number: int, candidate: Candidate, speedup: float, purpose: Purpose = Purpose.SEARCH) -> Trial:
    return samples.trial(number, speedup=speedup, purpose=purpose, proposed=candidate)


def refuted(number: int, candidate: Candidate) -> Trial:
    return samples.trial(number, verdict=Verdict.SLOWER, speedup=0.9, purpose=Purpose.CHAMPION, proposed=candidate)


def told(*trials: Trial) -> AgentReport:
    """The report after these trials, one after the other."""
    account = Account()
    for trial in trials:
        account = account.after(TrialFinished(trial=trial, spent=SPENT))
    return account.report


def test_report_counts_what_earlier_sittings_did_and_says_where_it_is_kept() -> None:
    verdicts = {Verdict.FASTER: 2, Verdict.CRASH: 1, Verdict.INFRA_ERROR: 1}
    started = CampaignStarted(
        spec=samples.campaign_spec(), resumed_trials=4, verdicts=verdicts, spent=SPENT, run_id="r", experiment_id="3"
    )
    report = Account().after(started).report
    assert (report.trials.finished, report.trials.faster, report.trials.infra_failed) == (3, 2, 1)
    assert (report.run_id, report.experiment_id) == ("r", "3")


def test_what_earlier_agents_recorded_is_told_before_there_is_a_runner() -> None:
    trials = (measured(0, GOOD, 1.4), measured(1, BEST, 2.0), measured(2, BEST, 1.9, Purpose.CHAMPION))
    record = samples.campaign_record().model_copy(update={"overhead": SPENT, "run_id": "r", "experiment_id": "3"})
    report = Account().recalled(trials, record).report
    assert (report.trials.finished, report.run_id, report.experiment_id) == (2, "r", "3")
    assert report.spend.tokens >= SPENT.tokens
    assert report.champion is not None
    assert report.champion.speedup == "1.9"


def test_campaign_that_no_agent_recorded_begins_at_nothing() -> None:
    assert Account().recalled((), None).report == AgentReport()


def test_campaign_that_had_ended_before_takes_nothing_back() -> None:
    before = Account().recalled((measured(0, GOOD, 1.4),), None)
    assert before.after(CampaignStarted(spec=samples.campaign_spec(), resumed_trials=1)) == before


def test_fastest_trial_is_the_challenger_until_it_is_confirmed_or_refuted() -> None:
    search = [measured(0, GOOD, 1.4), measured(1, BEST, 2.0)]
    report = told(*search)
    assert report.champion is None
    assert report.challenger is not None
    assert (report.challenger.speedup, report.challenger.digest) == ("2", BEST.digest)
    confirmed = told(*search, measured(2, BEST, 1.9, Purpose.CHAMPION))
    assert confirmed.challenger is None
    assert confirmed.champion is not None
    assert confirmed.champion.digest == BEST.digest
    next_best = told(*search, refuted(2, BEST))
    assert next_best.champion is None
    assert next_best.challenger is not None
    assert next_best.challenger.digest == GOOD.digest


def test_size_of_a_report_does_not_grow_with_trials() -> None:
    few, many = (told(*(measured(n, samples.candidate(str(n)), 1.5) for n in range(count))) for count in (2, 200))
    assert len(few.model_dump_json()) == len(many.model_dump_json())


def test_report_follows_every_trial_and_keeps_the_rest() -> None:
    report = Account(AgentReport(run_id="r")).after(finished(4)).report
    assert (report.trials.finished, report.run_id) == (5, "r")
    assert (report.spend.seconds, report.spend.tokens, report.spend.dollars) == (61, 1200, "0.0421")


def test_what_is_waited_for_is_told_in_short_and_no_longer_once_it_is_there() -> None:
    waiting = Account().waiting("x" * 5000)
    assert len(waiting.report.tracking_trouble or "") == MAX_TROUBLE
    assert waiting.waiting(None) == Account()


def test_report_names_the_tools_of_the_runner_and_its_driver() -> None:
    facts = samples.task_facts(device=DeviceKind.CUDA)
    report = Account().after(TaskAccepted(facts=facts)).report
    assert report.toolchain == {"driver": "580.65.06", "python": "3.11.2", "torch": "2.11.0"}


def test_report_fits_a_claim_however_much_a_runner_names() -> None:
    facts = samples.task_facts()
    many = facts.environment.model_copy(update={"toolchain": {f"tool-{n}": "v" * 1000 for n in range(40)}})
    report = AgentReport().measured_in(many)
    assert len(report.toolchain) == MAX_VERSIONS
    assert {len(version) for version in report.toolchain.values()} == {MAX_VERSION}
    spec = RunnerClaimSpec(pool="p", owner=ClaimOwner(name="k", uid="u"), credential_digest="sha256:" + "0" * 64)
    RunnerClaimSpec.read(spec.model_copy(update={"report": report}).written())


def test_what_is_no_count_makes_no_report() -> None:
    account = Account(AgentReport(run_id="r"))
    assert account.after(Noted(text="x")) is account
    assert account.after(StageChanged(stage="propose")) is account


def test_first_report_is_sent_at_once_and_of_the_others_the_newest() -> None:
    sent: queue.Queue[AgentReport] = queue.Queue()
    may_go_on = threading.Event()

    def send(report: AgentReport) -> None:
        sent.put(report)
        may_go_on.wait(PATIENCE_S)

    with reporting(send, pause_s=0.0) as reports:
        reports.happened(finished(0))
        assert sent.get(timeout=PATIENCE_S).trials.finished == 1
        for number in range(1, 5):  # while the first is under way, as to an API server that is away
            reports.happened(finished(number))
        may_go_on.set()
        assert sent.get(timeout=PATIENCE_S).trials.finished == 5
    assert sent.empty()


def test_what_is_not_sent_yet_at_the_end_is_sent_then() -> None:
    sent: queue.Queue[AgentReport] = queue.Queue()
    with reporting(sent.put, pause_s=PATIENCE_S) as reports:
        reports.happened(finished(0))
        assert sent.get(timeout=PATIENCE_S).trials.finished == 1
        reports.happened(finished(1))  # within the pause
    assert sent.get_nowait().trials.finished == 2


def test_nothing_is_sent_after_the_end() -> None:
    sent: list[AgentReport] = []
    with reporting(sent.append, pause_s=PATIENCE_S) as reports:
        pass
    reports.happened(finished(0))
    assert sent == []


def test_same_again_is_not_sent_again() -> None:
    sent: queue.Queue[AgentReport] = queue.Queue()
    with reporting(sent.put, pause_s=0.0) as reports:
        for _ in range(3):
            reports.happened(finished(0))
            reports.happened(Noted(text="x"))
        reports.happened(finished(1))
        seen = {sent.get(timeout=PATIENCE_S).trials.finished}
        while 2 not in seen:
            seen.add(sent.get(timeout=PATIENCE_S).trials.finished)
    assert seen <= {1, 2}
    assert sent.empty()
