import pytest

from everforge.errors import UsageError
from everforge.store.local import default_tracking_uri, open_store
from everforge.testing import samples
from everforge.testing.fakes import FakeClock


def test_default_store_keeps_all_of_a_campaign_below_the_state_directory(mlflow_database, monkeypatch):
    state = mlflow_database.parent / "state"
    state.mkdir()
    mlflow_database.rename(state / "mlflow.db")
    monkeypatch.chdir(state.parent)
    store = open_store(state)
    tracking = store.open_campaign(samples.campaign_spec())
    store.record_trial(samples.trial())
    assert tracking.tracking_uri == default_tracking_uri(state)
    assert [path.name for path in state.parent.iterdir()] == ["state"]
    assert {path.name for path in state.iterdir()} == {"mlflow.db", "artifacts", "outbox"}
    assert open_store(state).trials(samples.campaign_spec().campaign_id) == (samples.trial(),)


def test_opening_a_store_reaches_no_server_and_makes_no_database(tmp_path):
    open_store(tmp_path, "http://127.0.0.1:9")
    open_store(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_server_that_never_answers_costs_no_trial(tmp_path):
    store = open_store(tmp_path, "http://127.0.0.1:9", FakeClock())
    store.open_campaign(samples.campaign_spec())
    store.record_trial(samples.trial())
    assert store.trials(samples.campaign_spec().campaign_id) == (samples.trial(),)
    assert store.flush() == 2


def test_writes_wait_apart_for_each_tracking_uri(tmp_path):
    away = open_store(tmp_path, "http://127.0.0.1:9")
    away.open_campaign(samples.campaign_spec())
    assert open_store(tmp_path).flush() == 0
    assert open_store(tmp_path, "http://me:secret@127.0.0.1:9").flush() == 1


def test_what_was_kept_offline_is_written_once_mlflow_is_there(mlflow_database):
    state = mlflow_database.parent
    campaign_id = samples.campaign_spec().campaign_id
    offline = open_store(state, "offline")
    offline.open_campaign(samples.campaign_spec())
    offline.record_trial(samples.trial())
    assert offline.trials(campaign_id) == (samples.trial(),)
    assert offline.flush() == 2
    online = open_store(state)
    assert online.flush() == 0
    assert online.trials(campaign_id) == (samples.trial(),)


@pytest.mark.parametrize("uri", ["mlruns", "ftp://host/x", "databricks", "http:/host"])
def test_tracking_uri_of_no_known_kind_is_a_usage_error(tmp_path, uri):
    with pytest.raises(UsageError, match=r"sqlite:///FILE"):
        open_store(tmp_path, uri)
