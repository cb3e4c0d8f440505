import pytest

from turnstream.object_store.memory import MemoryStore
from turnstream.records import Records


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def records(store: MemoryStore) -> Records:
    return Records(store)
