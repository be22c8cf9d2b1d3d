"""Opens the store of a state directory: MLflow behind an outbox. The command line starts here."""

import re
from pathlib import Path

from everforge.clock import Clock, SystemClock
from everforge.errors import UsageError
from everforge.model.base import digest_of
from everforge.store.mlflow_store import MlflowStore
from everforge.store.offline import OFFLINE, OfflineStore
from everforge.store.outbox import OutboxStore, OutboxWatch

# What MLflow's client takes: a database, or a server.
_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
OUTBOX_FOLDER = "outbox"


def default_tracking_uri(state_dir: Path) -> str:
    """The SQLite database of a state directory; `mlflow ui --backend-store-uri` shows it."""
    return f"sqlite:///{state_dir.resolve() / 'mlflow.db'}"


def open_store(
    state_dir: Path,
    tracking_uri: str | None = None,
    clock: Clock | None = None,
    watch: OutboxWatch | None = None,
) -> OutboxStore:
    """The store behind `tracking_uri` (None: a SQLite database in `state_dir`), its outbox in `state_dir`.

    `offline` keeps everything in the outbox of the SQLite database, for a later run to write there.
    Connects at the first write, and never fails because a server is away. Raises UsageError for a URI or a
    directory that cannot be used.
    """
    if tracking_uri == OFFLINE:
        outbox = state_dir / OUTBOX_FOLDER / _folder_of(None)
        return OutboxStore(OfflineStore(), outbox, clock or SystemClock(), watch=watch)
    uri = tracking_uri or default_tracking_uri(state_dir)
    _check(uri)
    return OutboxStore(
        MlflowStore(uri, None if uri.startswith("http") else state_dir / "artifacts"),
        state_dir / OUTBOX_FOLDER / _folder_of(tracking_uri),
        clock or SystemClock(),
        tracking_uri=uri,
        watch=watch,
    )


def _folder_of(tracking_uri: str | None) -> str:
    """One outbox per store, whatever the password: what waits for one server must not go to another."""
    if tracking_uri is None:
        return "default"
    return digest_of(re.sub(r"//[^/@]*@", "//", tracking_uri)).removeprefix("sha256:")[:12]


def _check(uri: str) -> None:
    scheme = uri.split(":", 1)[0].split("+", 1)[0]
    if scheme not in _SCHEMES or "://" not in uri:
        raise UsageError(
            f"tracking URI {uri!r} is none MLflow keeps runs at: give sqlite:///FILE, http(s)://HOST:PORT"
            ", the URL of a PostgreSQL, MySQL or SQL Server database, or offline"
        )
