"""The MLflow store and the outbox against a real tracking server, which also goes away and comes back."""

from urllib.parse import urlsplit

import pytest

from everforge.errors import StoreUnavailable
from everforge.model.trial import Purpose
from everforge.store.local import open_store
from everforge.store.mlflow_connection import MlflowConnection
from everforge.store.mlflow_store import MlflowStore
from everforge.testing import samples
from everforge.testing.store_contract import StoreContract

pytestmark = pytest.mark.slow


@pytest.fixture
def emptied_server(mlflow_server):
    """The server without what an earlier test left there."""
    client = MlflowConnection(mlflow_server.uri).client
    for experiment in client.search_experiments(filter_string="tags.`everforge.kind` = 'task family'"):
        client.rename_experiment(experiment.experiment_id, f"left behind {experiment.experiment_id}")
        client.delete_experiment(experiment.experiment_id)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return mlflow_server


class TestMlflowStoreOnServer(StoreContract):
    @pytest.fixture
    def store(self, emptied_server):
        return MlflowStore(emptied_server.uri)

    @pytest.fixture
    def reopened(self, store, emptied_server):
        return lambda: MlflowStore(emptied_server.uri)


def test_outage_in_mid_campaign_loses_and_doubles_nothing(emptied_server, tmp_path):
    spec = samples.campaign_spec()
    trials = tuple(samples.trial(number) for number in range(6))
    champion_trial = samples.trial(9, purpose=Purpose.CHAMPION)
    champion = samples.champion(champion_trial)
    outbox = open_store(tmp_path, emptied_server.uri)
    outbox.open_campaign(spec)
    for trial in trials[:2]:
        outbox.record_trial(trial)

    emptied_server.stop()
    try:
        for trial in trials[2:4]:
            outbox.record_trial(trial)
        assert outbox.register_champion(spec.campaign_id, champion, champion_trial) == champion
        # The next process starts during the outage, and resumes from what is on this machine.
        del outbox
        resumed = open_store(tmp_path, emptied_server.uri)
        assert resumed.open_campaign(spec).run_id is None
        assert resumed.trials(spec.campaign_id) == (*trials[:4], champion_trial)
        resumed.record_trial(trials[4])
        assert resumed.flush() == 6
        with pytest.raises(StoreUnavailable, match=str(urlsplit(emptied_server.uri).port)):
            MlflowStore(emptied_server.uri).trials(spec.campaign_id)
    finally:
        emptied_server.start()

    assert resumed.flush() == 0
    resumed.record_trial(trials[5])
    everything = (*trials, champion_trial)
    assert MlflowStore(emptied_server.uri).trials(spec.campaign_id) == everything
    client = MlflowConnection(emptied_server.uri).client
    experiment = client.get_experiment_by_name(spec.task.name)
    assert len(client.search_runs([experiment.experiment_id])) == len(everything) + 1
    assert client.get_model_version_by_alias("softmax-lse-cpu", "champion").tags["everforge.candidate_digest"] == (
        champion.candidate_digest
    )
