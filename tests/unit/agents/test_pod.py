"""A campaign as a pod runs it: what its exit code and its last words say of each end, over a real MLflow store."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from everforge.agents.claims import ClaimedRunners, Wanted
from everforge.agents.cluster_api import ClusterAccess, ClusterApi
from everforge.agents.pod import LAST_WORDS_BYTES, Pod
from everforge.agents.reporting import Reports, reporting
from everforge.agents.runner_supply import RunnerSupply
from everforge.errors import DeviceFault, HarnessFault, TaskError
from everforge.model.agent_report import AgentReport
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState
from everforge.model.candidate import GeneratorKind
from everforge.model.runner_claim import ClaimOwner, RunnerClaim
from everforge.model.session import OpenSession, RunTrial
from everforge.model.trial import Trial
from everforge.model.verdict import ExitCode
from everforge.store.local import default_tracking_uri, open_store
from everforge.testing import samples
from everforge.testing.claim_server import claims_served
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement, ScriptedGenerator

GOOD, BEST = (samples.candidate(label) for label in ("good", "best"))
LANDSCAPE = {
    GOOD.source: Judgement(speedup=1.4, confirmed_speedup=1.35),
    BEST.source: Judgement(speedup=2.0, confirmed_speedup=1.9),
}
SPEC: CampaignSpec = samples.campaign_spec().model_copy(update={"budget": Budget(trials=10), "target_speedup": None})


def nothing(_request: object) -> None:
    return


@dataclass
class Cluster:
    """A tracking server that outlives pods; each pod has a directory of its own."""

    directory: Path
    pods: int = 0
    runners: list[FakeRunner] = field(default_factory=list)
    tracking_uri: str = ""
    reports: Reports = field(default_factory=lambda: Reports(nothing))
    store_s: float = 0.0
    waits: list[float] = field(default_factory=list)
    while_waiting: Callable[[float], None] = nothing

    def run(
        self,
        trial_hook: Callable[[RunTrial], None] = nothing,
        open_hook: Callable[[OpenSession], None] = nothing,
        spec: CampaignSpec = SPEC,
    ) -> int:
        def start() -> FakeRunner:
            self.runners.append(FakeRunner(LANDSCAPE, FakeClock(), trial_hook=trial_hook, open_hook=open_hook))
            return self.runners[-1]

        self.pods += 1
        pod = Pod(
            state_dir=self.directory / f"pod-{self.pods}",
            tracking_uri=self.tracking_uri or default_tracking_uri(self.directory),
            last_words=self.directory / "last-words",
            store_s=self.store_s,
            sleep=self._wait,
            generators_of=lambda _spec, _key: {GeneratorKind.BUILTIN: ScriptedGenerator([GOOD, BEST])},
        )
        return pod.run(spec, RunnerSupply(start), self.reports)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.while_waiting(seconds)

    @property
    def last_words(self) -> str:
        return (self.directory / "last-words").read_text()

    def trials(self) -> tuple[Trial, ...]:
        return open_store(self.directory / "reader", default_tracking_uri(self.directory)).trials(SPEC.campaign_id)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take it seconds to make."""
    directory = tmp_path_factory.mktemp("mlflow")
    assert open_store(directory).behind.campaign("none") is None
    return directory / "mlflow.db"


@pytest.fixture
def cluster(tmp_path: Path, empty_database: Path) -> Cluster:
    shutil.copy(empty_database, tmp_path)
    return Cluster(tmp_path)


def test_end_of_a_campaign_is_0_and_its_record(cluster: Cluster) -> None:
    assert cluster.run() == 0
    record = CampaignRecord.model_validate_json(cluster.last_words)
    assert record.state is CampaignState.SUCCEEDED
    assert record.champion is not None
    assert record.champion.model_uri is not None
    assert len(cluster.last_words) <= LAST_WORDS_BYTES
    assert cluster.runners[0].closed == 1


def test_pod_of_a_campaign_that_has_ended_claims_nothing_and_says_the_same(cluster: Cluster) -> None:
    cluster.run()
    words = cluster.last_words
    assert cluster.run() == 0
    assert cluster.last_words == words
    assert len(cluster.runners) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TaskError("the output is constant"), ExitCode.USAGE),
        (DeviceFault("no GPU on this machine"), ExitCode.DEVICE_FAULT),
        (HarnessFault("the runner is gone"), ExitCode.HARNESS_FAULT),
    ],
)
def test_task_that_cannot_be_opened_is_told_by_its_fault(cluster: Cluster, error: Exception, code: ExitCode) -> None:
    def refuse(_request: OpenSession) -> None:
        raise error

    assert cluster.run(open_hook=refuse) == code
    assert cluster.last_words == str(error)


@pytest.mark.parametrize(
    ("error", "code"),
    [(DeviceFault("the GPU fell off the bus"), ExitCode.DEVICE_FAULT), (HarnessFault("gone"), ExitCode.HARNESS_FAULT)],
)
def test_machine_that_keeps_failing_is_no_final_record(cluster: Cluster, error: Exception, code: ExitCode) -> None:
    def fail(_request: RunTrial) -> None:
        raise error

    assert cluster.run(trial_hook=fail) == code
    # Words that are no record: the operator tries elsewhere.
    assert "the machine failed 3 trials in a row" in cluster.last_words
    assert not cluster.last_words.startswith("{")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_with_its_code_and_the_next_pod_resumes(cluster: Cluster, number: signal.Signals) -> None:
    def interrupt(request: RunTrial) -> None:
        if request.candidate == BEST:
            os.kill(os.getpid(), number)

    assert cluster.run(trial_hook=interrupt) == 128 + number
    assert [trial.candidate for trial in cluster.trials()] == [GOOD]
    assert cluster.run() == 0
    assert [trial.number for trial in cluster.trials()] == [0, 1, 2]


def test_pod_that_cannot_read_what_was_recorded_begins_nothing(cluster: Cluster) -> None:
    cluster.tracking_uri = "http://127.0.0.1:9"
    assert cluster.run() == ExitCode.STORE_UNREACHABLE
    assert cluster.runners == []


def test_store_lost_on_the_way_is_told_and_what_it_lacks_is_kept(cluster: Cluster) -> None:
    database = cluster.directory / "mlflow.db"

    def lose(request: RunTrial) -> None:
        if request.candidate == BEST and not database.is_dir():
            for file in cluster.directory.glob("mlflow.db*"):
                file.unlink()
            database.mkdir()

    assert cluster.run(trial_hook=lose) == ExitCode.STORE_UNREACHABLE
    assert "wait in" in cluster.last_words
    assert len(list(cluster.directory.glob("pod-1/outbox/*/pending/*.json"))) > 0


class Said(Reports):
    """Reports that keep what they were told."""

    def __init__(self) -> None:
        super().__init__(nothing)
        self.recalls: list[int] = []
        self.troubles: list[str | None] = []

    def recalled(self, trials: tuple[Trial, ...], record: CampaignRecord | None) -> None:
        self.recalls.append(len(trials))

    def waits(self, trouble: str | None) -> None:
        self.troubles.append(trouble)


def test_trials_of_a_pod_that_was_killed_are_told_before_the_next_one_has_a_runner(cluster: Cluster) -> None:
    def interrupt(request: RunTrial) -> None:
        if request.candidate == BEST:
            os.kill(os.getpid(), signal.SIGTERM)

    cluster.run(trial_hook=interrupt)
    cluster.reports = reports = Said()
    known_at_opening: list[int] = []
    cluster.run(open_hook=lambda _request: known_at_opening.extend(reports.recalls))
    assert known_at_opening == [1]


def test_tracking_server_that_is_away_is_told_once_and_its_return_too(cluster: Cluster) -> None:
    database, aside = cluster.directory / "mlflow.db", cluster.directory / "aside.db"
    database.rename(aside)
    database.mkdir()  # what no database can be opened at

    def comes_back(_seconds: float) -> None:
        if len(cluster.waits) == 2:
            database.rmdir()
            aside.rename(database)

    cluster.reports, cluster.store_s, cluster.while_waiting = Said(), 600.0, comes_back
    assert cluster.run() == 0
    said = cluster.reports.troubles
    assert "cannot be reached" in (said[0] or "")
    assert said[1:] == [None] * (len(said) - 1)
    assert len(cluster.waits) > 1


def test_absent_tracking_server_is_told_by_a_claim_that_asks_for_no_runner(tmp_path: Path) -> None:
    told = threading.Event()
    with claims_served(lambda _claim: None) as server:
        api = ClusterApi(ClusterAccess(server.url, "team-a"), patience_s=30.0)
        wanted = Wanted("cpu", ClaimOwner(name="softmax", uid="1234"), stem="agent")
        runners = ClaimedRunners(api, wanted, tell=lambda _line: None)

        def send(report: AgentReport) -> None:
            runners.report(report)
            told.set()

        def wait(_seconds: float) -> None:
            assert told.wait(30.0)
            raise KeyboardInterrupt

        pod = Pod(state_dir=tmp_path, tracking_uri="http://127.0.0.1:9", sleep=wait)
        with reporting(send) as reports:
            assert pod.run(SPEC, RunnerSupply(runners), reports) == ExitCode.INTERRUPTED
        claim = RunnerClaim.model_validate(server.claims["agent-1"])
    assert claim.spec.idle
    assert claim.spec.report is not None
    assert "http://127.0.0.1:9 cannot be reached" in (claim.spec.report.tracking_trouble or "")
