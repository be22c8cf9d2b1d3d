"""The connection to an MLflow tracking server or database; the only file that imports mlflow.

`mlflow_store.py` speaks through it. It connects at the first use, because importing mlflow takes about a
second and a server may be away when a campaign starts; it keeps mlflow quiet, bounds its waits, and turns
its errors into StoreUnavailable (try again later) and StoreRefused (this write will not be taken as it is).
"""

import logging
import os
import re
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from everforge.errors import StoreRefused, StoreUnavailable, UsageError

# MLflow reads these from the environment alone, so they go there; a value the user has set stands. Its own
# patience (7 retries of 120 s) would hold a campaign for a quarter of an hour, and an outbox retries better.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# What these loggers say is either news of no interest (tables created) or an error that is raised as well.
_NOISY_LOGGERS = ("mlflow.store.db.utils", "alembic", "urllib3.connectionpool")
# Error codes that mean: asked again in the same way, the answer will be the same.
_REFUSALS = frozenset(
    (
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "BAD_REQUEST",
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
    )
)
_SQLITE = "sqlite:///"
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SQLITE_MAGIC = b"SQLite format 3\x00"
# MLflow's servers answer at most this many runs at once.
_RUNS_PER_PAGE = 1000
# The cause of a failed request begins its message; connection pools add their history.
_CAUSE_CHARACTERS = 400


class MlflowConnection:
    """MLflow's client for one tracking URI, without mlflow's global state."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    @cached_property
    def client(self) -> Any:
        """The `mlflow.MlflowClient`, connected. Use it within `reaching()` only."""
        with _quiet():
            if self.tracking_uri.startswith(_SQLITE):
                _ensure_database(Path(self.tracking_uri.removeprefix(_SQLITE).split("?")[0]))
            elif not self.tracking_uri.startswith("http"):
                _ensure_answering(self.tracking_uri)
            return _client_of(self.tracking_uri)

    @contextmanager
    def reaching(self) -> Iterator[Any]:
        """The client, with every error of the server, the database and the network translated.

        Raises StoreUnavailable, or StoreRefused when trying again would not help.
        """
        mlflow_exception = _mlflow_exception()
        try:
            yield self.client
        except OSError as error:  # requests' exceptions are OSErrors
            raise StoreUnavailable(self._explained("cannot be reached", error)) from error
        except mlflow_exception as error:
            if error.error_code in _REFUSALS:
                raise StoreRefused(self._explained("refused a write", error)) from error
            raise StoreUnavailable(self._explained("cannot be reached", error)) from error

    def log(
        self,
        run_id: str,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        at_s: float = 0.0,
        step: int = 0,
    ) -> None:
        """Everything about a run in one request. The same metric at the same time and step is one point."""
        from mlflow.entities import Metric, Param, RunTag

        at_ms = int(at_s * 1000)
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, at_ms, step) for key, value in (metrics or {}).items()],
            params=[Param(key, value) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )

    def upload(self, run_id: str, files: Mapping[str, str], folder: str | None = None) -> None:
        """Texts as artifacts of a run, byte for byte, replacing those of the same names."""
        with tempfile.TemporaryDirectory(prefix="everforge-") as directory:
            for name, text in files.items():
                Path(directory, name).write_bytes(text.encode())
            self.client.log_artifacts(run_id, directory, folder)

    def download(self, run: Any, name: str) -> str:
        """The text of an artifact of a run that was just fetched.

        The client's own way asks for the run again and lists its artifacts: three requests where one will do.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        files = get_artifact_repository(run.info.artifact_uri, tracking_uri=self.tracking_uri)
        with tempfile.TemporaryDirectory(prefix="everforge-") as directory:
            return Path(files.download_artifacts(name, directory)).read_bytes().decode()

    def runs(self, experiment_ids: list[str], **tags: str) -> list[Any]:
        """The active runs that carry all these `everforge.` tags, oldest first."""
        if not experiment_ids:
            return []
        clauses = " and ".join(f"tags.`everforge.{name}` = '{value}'" for name, value in tags.items())
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs(
                experiment_ids,
                filter_string=clauses,
                max_results=_RUNS_PER_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                return found

    def _explained(self, what: str, error: Exception) -> str:
        """One line that names the store and the cause, passwords masked."""
        cause = str(error).strip().split("\n", 1)[0][:_CAUSE_CHARACTERS]
        return re.sub(r"//[^/@\s]+@", "//***@", f"MLflow at {self.tracking_uri} {what}: {cause}")


def _client_of(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@cache
def _mlflow_exception() -> Any:
    """The base of mlflow's errors. The first to import mlflow, so it settles how mlflow behaves."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for logger in _NOISY_LOGGERS:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        with _quiet():
            from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise UsageError(
            f"trials are kept in MLflow, and {error.name} is not installed: pip install 'everforge[store]'"
        ) from error
    return MlflowException


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the deprecation warnings between mlflow and its dependencies: our users cannot mend them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _ensure_answering(tracking_uri: str) -> None:
    """Raise OSError now if nothing listens at a database's address: MLflow would retry for two minutes."""
    address = urlsplit(tracking_uri)
    port = address.port or _DATABASE_PORTS.get(address.scheme.split("+")[0])
    if address.hostname and port:
        socket.create_connection((address.hostname, port), timeout=5).close()


def _ensure_database(path: Path) -> None:
    """Make the SQLite database if it is missing, whole or not at all.

    MLflow makes its tables in about a second; a process killed meanwhile would leave a schema that no later
    one accepts. So they are made in a file of another name, which is then linked into place.
    Raises OSError, where MLflow itself would retry for two minutes, if the path cannot hold a database.
    """
    if path.exists():
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path} is not writable by this user")
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
        if head not in (b"", _SQLITE_MAGIC):
            raise OSError(f"{path} is not a SQLite database; move it away or give another tracking URI")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as directory:
        made = Path(directory, path.name)
        _client_of(f"{_SQLITE}{made}")
        try:
            os.link(made, path)
        except FileExistsError:
            return  # another process was faster, and its database is as good
        except OSError:
            made.replace(path)  # a file system without hard links
