"""kill -9 while a campaign writes as fast as it can: what was acknowledged is there, once."""

import subprocess
import sys

import pytest

from everforge.store.local import default_tracking_uri, open_store
from everforge.store.mlflow_connection import MlflowConnection
from everforge.testing import samples

SPEC = samples.campaign_spec()

WRITER = """
import itertools, sys
from pathlib import Path
from everforge.store.local import open_store
from everforge.testing import samples
store = open_store(Path(sys.argv[1]))
store.open_campaign(samples.campaign_spec())
for number in itertools.count(int(sys.argv[2])):
    store.record_trial(samples.trial(number))
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_database")
def test_process_killed_while_writing_loses_and_doubles_nothing(tmp_path):
    acknowledged = 0
    # One write passes through about six files and transactions; several deaths fall on several of them.
    for written_before_death in (1, 4, 9):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, str(acknowledged)], stdout=subprocess.PIPE, text=True
        ) as writer:
            for _ in range(written_before_death):
                acknowledged = int(writer.stdout.readline()) + 1
            writer.kill()
            # What it still said before it died was acknowledged as well.
            acknowledged += len(writer.stdout.readlines())
    store = open_store(tmp_path)
    assert store.flush() == 0
    numbers = [trial.number for trial in store.trials(SPEC.campaign_id)]
    assert numbers[:acknowledged] == list(range(acknowledged))
    assert len(numbers) <= acknowledged + 1
    client = MlflowConnection(default_tracking_uri(tmp_path)).client
    experiment = client.get_experiment_by_name(SPEC.task.name)
    assert len(client.search_runs([experiment.experiment_id])) == len(numbers) + 1
