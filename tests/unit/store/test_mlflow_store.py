"""What MLflow shows of a campaign, and how its store behaves when things break."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from everforge.errors import StoreRefused, StoreUnavailable
from everforge.model.campaign import CampaignState
from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Purpose
from everforge.model.verdict import Verdict
from everforge.store.mlflow_connection import MlflowConnection
from everforge.store.mlflow_store import MlflowStore
from everforge.testing import samples
from everforge.testing.store_contract import StoreContract

SPEC = samples.campaign_spec()


@pytest.fixture
def uri(mlflow_database):
    return f"sqlite:///{mlflow_database}"


@pytest.fixture
def open_store(uri, tmp_path):
    return lambda: MlflowStore(uri, tmp_path / "artifacts")


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def client(uri):
    return MlflowConnection(uri).client


class TestMlflowStoreOnSqlite(StoreContract):
    @pytest.fixture
    def store(self, open_store):
        return open_store()

    @pytest.fixture
    def reopened(self, open_store):
        return open_store


def runs_of(client, experiment_id, kind):
    return client.search_runs([experiment_id], f"tags.`everforge.kind` = '{kind}'", order_by=["start_time"])


def artifacts_of(client, run_id):
    return {file.path for file in client.list_artifacts(run_id)}


def test_campaign_is_a_run_of_its_task_familys_experiment(store, client):
    tracking = store.open_campaign(SPEC)
    store.record_facts(SPEC.campaign_id, samples.task_facts())
    trials = (samples.trial(0), samples.trial(1, verdict=Verdict.CRASH))
    best = samples.champion(trials[0])
    store.record_campaign(samples.campaign_record(SPEC, CampaignState.SUCCEEDED, trials, best))
    run = client.get_run(tracking.run_id)
    assert client.get_experiment(tracking.experiment_id).name == SPEC.task.name
    assert (run.info.run_name, run.info.status) == ("softmax-lse on cpu", "FINISHED")
    assert run.data.params["precision"] == "fp32"
    assert run.data.tags["everforge.device_name"] == "AMD EPYC 9354"
    assert run.data.tags["everforge.budget"] == '{"trials":40}'
    assert "1.8 (1.75 to 1.85)" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["champion/speedup"] == 1.8
    assert run.data.metrics["trials/crash"] == 1
    expected = {"spec.json", "task.py", "facts.json", "campaign.json", "summary.html"}
    assert artifacts_of(client, run.info.run_id) == expected


def test_trial_is_a_nested_run_with_all_there_is_to_know(store, client):
    tracking = store.open_campaign(SPEC)
    proposed = samples.candidate("llm", generator=GeneratorKind.LLM, strategy="fused", parent="parent-id")
    store.record_trial(samples.trial(3, proposed=proposed, said=samples.conversation()))
    (run,) = runs_of(client, tracking.experiment_id, "trial")
    assert (run.info.run_name, run.info.status) == ("003 faster llm fused", "FINISHED")
    assert run.data.tags["mlflow.parentRunId"] == tracking.run_id
    assert run.data.tags["everforge.parent_trial_id"] == "parent-id"
    assert run.data.tags["everforge.verdict"] == "faster"
    assert run.data.params["parameter.block"] == "256"
    assert run.data.params["model"] == "openai/gpt-4.1"
    metrics = run.data.metrics
    assert (metrics["speedup"], metrics["prefill/candidate_us"]) == (1.8, pytest.approx(600 / 1.8))
    assert (metrics["seconds/compile"], metrics["tokens"], metrics["dollars"]) == (2.0, 2000, 0.0088)
    expected = {"candidate.py", "evaluation.json", "trial.json", "prompt.txt", "reply.txt"}
    assert artifacts_of(client, run.info.run_id) == expected
    assert run.info.end_time - run.info.start_time == 5900


def test_unmeasured_values_are_absent_not_zero(store, client):
    tracking = store.open_campaign(SPEC)
    store.record_trial(samples.trial(verdict=Verdict.COMPILE_ERROR))
    (run,) = runs_of(client, tracking.experiment_id, "trial")
    assert not {"speedup", "speedup_fp32", "sol_fraction", "prefill/candidate_us"} & run.data.metrics.keys()
    assert "expected ';'" in run.data.tags["mlflow.note.content"]


def test_broken_machine_is_a_failed_run_and_a_bad_kernel_is_not(store, client):
    tracking = store.open_campaign(SPEC)
    store.record_trial(samples.trial(0, verdict=Verdict.INFRA_ERROR))
    store.record_trial(samples.trial(1, verdict=Verdict.CRASH))
    statuses = {run.info.run_name[:3]: run.info.status for run in runs_of(client, tracking.experiment_id, "trial")}
    assert statuses == {"000": "FAILED", "001": "FINISHED"}


def test_best_speedup_climbs_over_search_trials(open_store, client):
    tracking = open_store().open_campaign(SPEC)
    open_store().record_trial(samples.trial(0, verdict=Verdict.CRASH))
    open_store().record_trial(samples.trial(1, speedup=1.5))
    store = open_store()
    store.record_trial(samples.trial(2, verdict=Verdict.SLOWER, speedup=0.7))
    store.record_trial(samples.trial(3, speedup=2.0))
    store.record_trial(samples.trial(4, speedup=2.5, purpose=Purpose.CHAMPION))
    store.record_trial(samples.trial(3, speedup=2.0))
    curve = [(point.step, point.value) for point in client.get_metric_history(tracking.run_id, "best_speedup")]
    assert sorted(curve) == [(1, 1.5), (2, 1.5), (3, 2.0)]


def test_campaigns_of_one_task_share_its_experiment(store):
    one = store.open_campaign(SPEC)
    two = store.open_campaign(samples.campaign_spec(name="again"))
    assert one.experiment_id == two.experiment_id
    assert one.run_id != two.run_id


def test_raised_budget_reopens_the_same_run(store, client):
    tracking = store.open_campaign(SPEC)
    store.record_campaign(samples.campaign_record(SPEC, CampaignState.INTERRUPTED))
    assert client.get_run(tracking.run_id).info.status == "KILLED"
    assert store.open_campaign(samples.campaign_spec(trials=80)) == tracking
    run = client.get_run(tracking.run_id)
    assert (run.info.status, run.data.tags["everforge.budget"]) == ("RUNNING", '{"trials":80}')


def test_run_left_half_written_is_not_read_and_is_completed_not_doubled(store, client, monkeypatch):
    tracking = store.open_campaign(SPEC)
    with monkeypatch.context() as broken:
        broken.setattr(MlflowConnection, "upload", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(StoreUnavailable, match="disk full"):
            store.record_trial(samples.trial())
    assert len(runs_of(client, tracking.experiment_id, "trial")) == 1
    assert store.trials(SPEC.campaign_id) == ()
    store.record_trial(samples.trial())
    (run,) = runs_of(client, tracking.experiment_id, "trial")
    assert len(client.get_metric_history(run.info.run_id, "speedup")) == 1
    assert store.trials(SPEC.campaign_id) == (samples.trial(),)


def test_champion_is_a_version_under_the_alias_with_its_digest(store, client):
    store.open_campaign(SPEC)
    for number in (0, 1):
        trial = samples.trial(number, purpose=Purpose.CHAMPION)
        champion = store.register_champion(SPEC.campaign_id, samples.champion(trial), trial)
    version = client.get_model_version_by_alias("softmax-lse-cpu", "champion")
    assert champion.model_uri == f"models:/softmax-lse-cpu/{version.version}"
    assert (int(version.version), version.run_id) == (2, champion.run_id)
    assert version.tags["everforge.candidate_digest"] == trial.candidate.digest
    assert version.tags["everforge.architecture"] == "x86_64"


def test_alias_returns_to_an_older_version_when_its_candidate_is_champion_again(store, client):
    store.open_campaign(SPEC)
    first, second = (samples.trial(number, purpose=Purpose.CHAMPION) for number in (0, 1))
    for trial in (first, second, first):
        store.register_champion(SPEC.campaign_id, samples.champion(trial), trial)
    assert int(client.get_model_version_by_alias("softmax-lse-cpu", "champion").version) == 1
    assert len(client.search_model_versions("name = 'softmax-lse-cpu'")) == 2


DOWNLOAD = """
import sys
from mlflow.artifacts import download_artifacts
print(download_artifacts("models:/softmax-lse-cpu@champion", dst_path=sys.argv[1]))
"""


def test_champion_downloads_by_its_alias_alone(store, uri, tmp_path):
    trial = samples.trial(purpose=Purpose.CHAMPION)
    store.open_campaign(SPEC)
    store.register_champion(SPEC.campaign_id, samples.champion(trial), trial)
    target = tmp_path / "download"
    target.mkdir()
    subprocess.run(
        [sys.executable, "-c", DOWNLOAD, target],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert (target / "candidate.py").read_text() == trial.candidate.source


def test_deleted_experiment_is_refused_with_the_command_that_restores_it(open_store, client):
    tracking = open_store().open_campaign(SPEC)
    client.delete_experiment(tracking.experiment_id)
    with pytest.raises(StoreRefused, match=rf"experiments restore --experiment-id {tracking.experiment_id}"):
        open_store().open_campaign(SPEC)


def test_run_deleted_meanwhile_is_refused_and_a_new_opening_mends_it(store, client):
    tracking = store.open_campaign(SPEC)
    client.delete_run(tracking.run_id)
    with pytest.raises(StoreRefused):
        store.record_facts(SPEC.campaign_id, samples.task_facts())
    assert store.open_campaign(SPEC).run_id != tracking.run_id
    store.record_trial(samples.trial())


def test_server_that_is_not_there_is_unavailable_and_its_password_not_shown():
    with pytest.raises(StoreUnavailable, match=r"//\*\*\*@127\.0\.0\.1:9") as raised:
        MlflowStore("http://me:secret@127.0.0.1:9").open_campaign(SPEC)
    assert "secret" not in str(raised.value)


def test_database_server_that_is_not_there_is_unavailable_at_once():
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        MlflowStore("postgresql://127.0.0.1:9/mlflow").open_campaign(SPEC)


def test_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_text("these are notes, not a database")
    with pytest.raises(StoreUnavailable, match=r"mlflow\.db is not a SQLite database"):
        MlflowStore(f"sqlite:///{path}").open_campaign(SPEC)


QUIET = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("error")
from everforge.store.mlflow_store import MlflowStore
from everforge.testing import samples
store = MlflowStore(f"sqlite:///{sys.argv[1]}/mlflow.db", Path(sys.argv[1], "artifacts"))
store.open_campaign(samples.campaign_spec())
trial = samples.trial()
store.record_trial(trial)
store.register_champion(trial.campaign_id, samples.champion(trial), trial)
store.record_campaign(samples.campaign_record())
print(len(store.trials(trial.campaign_id)))
"""


def test_mlflow_makes_its_database_whole_and_says_nothing_on_the_terminal(tmp_path: Path):
    state = tmp_path / "new"
    done = subprocess.run(
        [sys.executable, "-c", QUIET, state], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert {path.name for path in state.iterdir()} == {"mlflow.db", "artifacts"}
