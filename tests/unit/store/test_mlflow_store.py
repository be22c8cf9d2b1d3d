import pytest

from everforge.store.mlflow_store import MlflowStore
from everforge.testing.store_contract import StoreContract


@pytest.fixture
def open_store(mlflow_database, tmp_path):
    return lambda: MlflowStore(f"sqlite:///{mlflow_database}", tmp_path / "artifacts")


class TestMlflowStoreOnSqlite(StoreContract):
    @pytest.fixture
    def store(self, open_store):
        return open_store()

    @pytest.fixture
    def reopened(self, open_store):
        return open_store
