import pytest

from everforge.store.memory import MemoryStore
from everforge.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()
