"""What an agent reports of its campaign, how often, and that nobody waits for it."""

import queue
import threading

from everforge.agents.reporting import report_after, reporting
from everforge.model.agent_report import AgentReport
from everforge.model.budget import Spend
from everforge.model.device import DeviceKind
from everforge.model.runner_claim import ClaimOwner, RunnerClaimSpec
from everforge.model.scalars import MAX_VERSION, MAX_VERSIONS
from everforge.model.verdict import Verdict
from everforge.search.events import CampaignStarted, Noted, StageChanged, TaskAccepted, TrialFinished
from everforge.testing import samples

PATIENCE_S = 30.0
SPENT = Spend(trials=2, seconds=61.5, tokens=1200, dollars=0.0421)


def finished(number: int) -> TrialFinished:
    return TrialFinished(trial=samples.trial(number), spent=SPENT, verdicts={Verdict.FASTER: number + 1})


def test_report_counts_what_earlier_sittings_did_and_says_where_it_is_kept() -> None:
    verdicts = {Verdict.FASTER: 2, Verdict.CRASH: 1, Verdict.INFRA_ERROR: 1}
    started = CampaignStarted(
        spec=samples.campaign_spec(), resumed_trials=4, verdicts=verdicts, spent=SPENT, run_id="r", experiment_id="3"
    )
    report = report_after(AgentReport(), started)
    assert (report.trials.finished, report.trials.faster, report.trials.infra_failed) == (3, 2, 1)
    assert (report.run_id, report.experiment_id) == ("r", "3")


def test_report_follows_every_trial_and_keeps_the_rest() -> None:
    report = report_after(AgentReport(run_id="r"), finished(4))
    assert (report.trials.finished, report.run_id) == (5, "r")
    assert (report.spend.seconds, report.spend.tokens, report.spend.dollars) == (61, 1200, "0.0421")


def test_report_names_the_tools_of_the_runner_and_its_driver() -> None:
    facts = samples.task_facts(device=DeviceKind.CUDA)
    report = report_after(AgentReport(), TaskAccepted(facts=facts))
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
    report = AgentReport(run_id="r")
    assert report_after(report, Noted(text="x")) is report
    assert report_after(report, StageChanged(stage="propose")) is report


def test_first_report_is_sent_at_once_and_of_the_others_the_newest() -> None:
    sent: queue.Queue[AgentReport] = queue.Queue()
    may_go_on = threading.Event()

    def send(report: AgentReport) -> None:
        sent.put(report)
        may_go_on.wait(PATIENCE_S)

    with reporting(send, pause_s=0.0) as listener:
        listener(finished(0))
        assert sent.get(timeout=PATIENCE_S).trials.finished == 1
        for number in range(1, 5):  # while the first is under way, as to an API server that is away
            listener(finished(number))
        may_go_on.set()
        assert sent.get(timeout=PATIENCE_S).trials.finished == 5
    assert sent.empty()


def test_nothing_is_sent_after_the_end() -> None:
    sent: list[AgentReport] = []
    with reporting(sent.append, pause_s=PATIENCE_S) as listener:
        pass
    listener(finished(0))
    assert sent == []


def test_same_again_is_not_sent_again() -> None:
    sent: queue.Queue[AgentReport] = queue.Queue()
    with reporting(sent.put, pause_s=0.0) as listener:
        for _ in range(3):
            listener(finished(0))
            listener(Noted(text="x"))
        listener(finished(1))
        seen = {sent.get(timeout=PATIENCE_S).trials.finished}
        while 2 not in seen:
            seen.add(sent.get(timeout=PATIENCE_S).trials.finished)
    assert seen <= {1, 2}
    assert sent.empty()
