"""Databases and servers of the store tests."""

import shutil
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
