"""The store people look into: MLflow, on a SQLite file, a database or a tracking server.

An experiment per task family, a parent run per campaign, a nested run per trial, the champion as a version
of a registered model under the alias `champion`. Runs are found again by tag, so every write can be repeated;
a run leaves the state RUNNING only when all of its trial is written. `outbox.py` adds patience with outages.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everforge.errors import StoreRefused, StoreUnavailable
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, Champion
from everforge.model.device import DeviceKind
from everforge.model.session import TaskFacts
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.store import fields, pages
from everforge.store.base import Tracking
from everforge.store.mlflow_connection import MlflowConnection

CHAMPION_ALIAS = "champion"
CHAMPION_FOLDER = "champion"
_FAMILY = "task family"
# The second tag opens the experiment in the UI as model training: runs and curves first, not chats and prompts.
_EXPERIMENT_TAGS = {"everforge.kind": _FAMILY, "mlflow.experimentKind": "custom_model_development"}
_RUN_STATUS = {
    CampaignState.RUNNING: "RUNNING",
    CampaignState.INTERRUPTED: "KILLED",
    CampaignState.SUCCEEDED: "FINISHED",
    CampaignState.FAILED: "FAILED",
}


@dataclass
class _Place:
    """Where a campaign is kept, and the best speedup its curve has reached."""

    experiment_id: str
    run_id: str
    model_name: str
    started_at_s: float
    best_speedup: float | None


class MlflowStore:
    """Keeps campaigns and trials in MLflow. Not safe between threads.

    `artifacts_dir` is where a database without a server keeps files; None leaves it to the server.
    """

    def __init__(self, tracking_uri: str, artifacts_dir: Path | None = None) -> None:
        self._connection = MlflowConnection(tracking_uri)
        self._artifacts_dir = artifacts_dir
        self._places: dict[str, _Place] = {}

    def open_campaign(self, spec: CampaignSpec) -> Tracking:
        """Make or find the campaign's parent run, with the spec and the task's source as artifacts."""
        with self._reaching() as client:
            place = self._found(spec.campaign_id) or self._made(spec)
            self._connection.log(place.run_id, params=fields.campaign_params(spec), tags=fields.campaign_tags(spec))
            self._connection.upload(
                place.run_id, {"spec.json": spec.model_dump_json(indent=2), "task.py": spec.task.source}
            )
            client.update_run(place.run_id, status="RUNNING")
        return Tracking(
            tracking_uri=self._connection.tracking_uri,
            experiment_id=place.experiment_id,
            run_id=place.run_id,
        )

    def record_facts(self, campaign_id: str, facts: TaskFacts) -> None:
        """Keep the facts as an artifact of the parent run, and the environment as its tags."""
        with self._reaching():
            place = self._opened(campaign_id)
            self._connection.log(place.run_id, tags=fields.environment_tags(facts.environment))
            self._connection.upload(place.run_id, {"facts.json": facts.model_dump_json(indent=2)})

    def record_trial(self, trial: Trial) -> None:
        """Keep one finished trial as a nested run; a run that an outage left half-written is completed."""
        with self._reaching():
            self._write_trial(self._opened(trial.campaign_id), trial)

    def trials(self, campaign_id: str) -> tuple[Trial, ...]:
        """Every completely recorded trial in order of number; none for an unknown campaign."""
        with self._reaching():
            place = self._found(campaign_id)
            if place is None:
                return ()
            runs = self._connection.runs([place.experiment_id], campaign_id=campaign_id, kind="trial")
            texts = [self._connection.download(run, "trial.json") for run in runs if _is_whole(run)]
        found = [Trial.model_validate_json(text) for text in texts]
        return fields.ordered({trial.trial_id: trial for trial in found}.values())

    def register_champion(self, campaign_id: str, champion: Champion, trial: Trial) -> Champion:
        """Publish the candidate as a version of `<task>-<device>` and point the alias `champion` to it.

        The version's source is the folder `champion` of the trial's run: candidate.py, evaluation.json.
        A digest that is registered already keeps its version.
        """
        with self._reaching() as client:
            place = self._opened(campaign_id)
            run_id = self._write_trial(place, trial)
            files = {
                "candidate.py": trial.candidate.source,
                "evaluation.json": trial.evaluation.model_dump_json(indent=2),
            }
            self._connection.upload(run_id, files, CHAMPION_FOLDER)
            version = self._version(place.model_name, champion, trial, run_id)
            client.set_registered_model_alias(place.model_name, CHAMPION_ALIAS, version)
        return champion.model_copy(update={"run_id": run_id, "model_uri": f"models:/{place.model_name}/{version}"})

    def record_campaign(self, record: CampaignRecord) -> None:
        """Keep where the campaign stands: its record, a summary page, totals as metrics, the run's status."""
        files = {
            "campaign.json": record.model_dump_json(indent=2),
            "summary.html": pages.campaign_page(record),
        }
        tags = fields.record_tags(record) | {"mlflow.note.content": pages.campaign_note(record)}
        with self._reaching() as client:
            place = self._opened(record.campaign_id)
            self._connection.upload(place.run_id, files)
            # Not "now": a record that is replayed must fall on the same point of each curve.
            at_s = place.started_at_s + record.spend.seconds
            metrics = fields.record_metrics(record)
            self._connection.log(place.run_id, metrics, tags=tags, at_s=at_s, step=record.trials)
            if record.state is CampaignState.RUNNING:
                client.update_run(place.run_id, status=_RUN_STATUS[record.state])
            else:
                client.set_terminated(place.run_id, status=_RUN_STATUS[record.state])

    def campaign(self, campaign_id: str) -> CampaignRecord | None:
        """The last record of a campaign, None if none was kept."""
        with self._reaching() as client:
            place = self._found(campaign_id)
            if place is None:
                return None
            run = client.get_run(place.run_id)
            # The state is tagged after the record is uploaded, so the tag vouches for the artifact.
            if "everforge.state" not in run.data.tags:
                return None
            text = self._connection.download(run, "campaign.json")
        return CampaignRecord.model_validate_json(text)

    def flush(self) -> int:
        """Nothing waits: every write is made at once or raises."""
        return 0

    @contextmanager
    def _reaching(self) -> Iterator[Any]:
        """The connected client; after an error places are looked up anew, for they may be gone."""
        try:
            with self._connection.reaching() as client:
                yield client
        except StoreUnavailable:
            self._places.clear()
            raise

    def _opened(self, campaign_id: str) -> _Place:
        place = self._found(campaign_id)
        if place is None:
            raise StoreRefused(f"campaign {campaign_id} was never opened here, or its run was deleted")
        return place

    def _found(self, campaign_id: str) -> _Place | None:
        """The campaign's place, looked up once."""
        if campaign_id not in self._places:
            client = self._connection.client
            families = client.search_experiments(filter_string=f"tags.`everforge.kind` = '{_FAMILY}'")
            ids = [experiment.experiment_id for experiment in families]
            runs = self._connection.runs(ids, campaign_id=campaign_id, kind="campaign")
            if not runs:
                return None
            self._places[campaign_id] = _place_of(runs[0])
        return self._places[campaign_id]

    def _made(self, spec: CampaignSpec) -> _Place:
        run = self._connection.client.create_run(
            self._experiment(spec.task.name),
            tags=fields.campaign_tags(spec),
            run_name=fields.campaign_run_name(spec),
        )
        self._places[spec.campaign_id] = _place_of(run)
        return self._places[spec.campaign_id]

    def _experiment(self, task: str) -> str:
        """The id of the task family's experiment, made if missing."""
        client = self._connection.client
        experiment = client.get_experiment_by_name(task)
        if experiment is None:
            location = None
            if self._artifacts_dir is not None:
                location = (self._artifacts_dir.resolve() / _folder_name(task)).as_uri()
            return str(client.create_experiment(task, location, tags=_EXPERIMENT_TAGS))
        if experiment.lifecycle_stage == "deleted":
            raise StoreRefused(
                f"the MLflow experiment {task!r} was deleted; bring it back with"
                f" `mlflow experiments restore --experiment-id {experiment.experiment_id}`"
            )
        client.set_experiment_tag(experiment.experiment_id, "everforge.kind", _FAMILY)
        return str(experiment.experiment_id)

    def _write_trial(self, place: _Place, trial: Trial) -> str:
        """Write the trial's run unless it is there and whole; returns its id."""
        client = self._connection.client
        runs = self._connection.runs([place.experiment_id], trial_id=trial.trial_id, kind="trial")
        if runs and _is_whole(runs[0]):
            return str(runs[0].info.run_id)
        run_id = str(runs[0].info.run_id if runs else self._create_trial_run(place, trial))
        self._connection.log(run_id, fields.trial_metrics(trial), fields.trial_params(trial), at_s=trial.finished_at_s)
        self._connection.upload(run_id, _trial_files(trial))
        self._draw_curve(place, trial)
        status = "FAILED" if trial.evaluation.verdict is Verdict.INFRA_ERROR else "FINISHED"
        client.set_terminated(run_id, status=status, end_time=int(trial.finished_at_s * 1000))
        return run_id

    def _create_trial_run(self, place: _Place, trial: Trial) -> Any:
        started_at_s = trial.finished_at_s - trial.evaluation.stages.total
        run = self._connection.client.create_run(
            place.experiment_id,
            start_time=max(0, int(started_at_s * 1000)),
            # The note is set here and not with the metrics: that saves a transaction, about 5 ms on SQLite.
            tags=fields.trial_tags(trial, place.run_id) | {"mlflow.note.content": pages.trial_note(trial)},
            run_name=fields.trial_run_name(trial),
        )
        return run.info.run_id

    def _draw_curve(self, place: _Place, trial: Trial) -> None:
        """One point of the parent's `best_speedup` per search trial, so that the UI draws the climb."""
        speedup = trial.evaluation.speedup
        if trial.purpose is not Purpose.SEARCH:
            return
        if speedup is not None:
            place.best_speedup = max(place.best_speedup or 0.0, speedup.value)
        if place.best_speedup is not None:
            best = {"best_speedup": place.best_speedup}
            self._connection.log(place.run_id, best, at_s=trial.finished_at_s, step=trial.number)

    def _version(self, name: str, champion: Champion, trial: Trial, run_id: str) -> str:
        """The version that holds the champion's digest, made if there is none."""
        client = self._connection.client
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description="Fastest verified kernel, kept by Everforge")
        for version in client.search_model_versions(f"name = '{name}'"):
            if version.tags.get("everforge.candidate_digest") == champion.candidate_digest:
                return str(version.version)
        made = client.create_model_version(
            name,
            source=f"{client.get_run(run_id).info.artifact_uri}/{CHAMPION_FOLDER}",
            run_id=run_id,
            tags=fields.champion_tags(champion, trial),
            description=f"{champion.speedup.value:.3g} × the fastest allowed baseline",
            await_creation_for=0,
        )
        return str(made.version)


def _place_of(run: Any) -> _Place:
    tags = run.data.tags
    return _Place(
        experiment_id=run.info.experiment_id,
        run_id=run.info.run_id,
        model_name=fields.model_name_of(tags["everforge.task"], DeviceKind(tags["everforge.device"])),
        started_at_s=run.info.start_time / 1000,
        best_speedup=run.data.metrics.get("best_speedup"),
    )


def _trial_files(trial: Trial) -> dict[str, str]:
    files = {
        "candidate.py": trial.candidate.source,
        "evaluation.json": trial.evaluation.model_dump_json(indent=2),
        "trial.json": trial.model_dump_json(indent=2),
    }
    if trial.conversation is not None:
        files |= {"prompt.txt": trial.conversation.prompt, "reply.txt": trial.conversation.reply}
    return files


def _is_whole(run: Any) -> bool:
    return bool(run.info.status != "RUNNING")


def _folder_name(task: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", task).strip("-.") or "task"
