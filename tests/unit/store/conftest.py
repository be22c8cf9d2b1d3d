"""Databases and servers of the store tests."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from everforge.store.mlflow_connection import MlflowConnection


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making its tables takes a second, copying it a millisecond."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    with MlflowConnection(f"sqlite:///{path}").reaching():
        return path


@pytest.fixture
def mlflow_database(mlflow_template: Path, tmp_path: Path) -> Path:
    """A fresh MLflow database of this test's own."""
    return Path(shutil.copy(mlflow_template, tmp_path / "mlflow.db"))


class MlflowServer:
    """`mlflow server` on a port of the loopback, to be stopped and started again at the same address."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and return once it answers."""
        database, files = self._directory / "mlflow.db", self._directory / "files"
        options = ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(files)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(self._port), "--workers", "1", *options],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._await_startup()

    def stop(self) -> None:
        """Take the server and its workers away as a power cut would."""
        if self._process is not None and self._process.stderr is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._drain.join()
            self._process.stderr.close()
            self._process = None

    def _await_startup(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            # Said after the socket is bound; "startup complete" comes before, and a request would be refused.
            if "Uvicorn running on" in line:
                # Its log must go on being read, or a full pipe would stop the server.
                self._drain = threading.Thread(target=self._process.stderr.read)
                self._drain.start()
                return
        raise RuntimeError("mlflow server did not start:\n" + "".join(said))


@pytest.fixture(scope="module")
def mlflow_server(mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A running tracking server; tests that stop it start it again."""
    directory = tmp_path_factory.mktemp("server")
    shutil.copy(mlflow_template, directory / "mlflow.db")
    server = MlflowServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()
