"""Any sequence of calls to a store does what it would do to a dict."""

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.stores import keys, read
from turnstream.object_store.base import ObjectExists, ObjectNotFound, ObjectStore
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.memory import MemoryStore

KEYS = st.sampled_from(["a", "a-b", "b/c", "b/c-d", "b/d/e", "b/d-/e", "b/d/f", "c/x/y/z"])
PREFIXES = st.sampled_from(["", "a", "b", "b/", "b/d", "b/d/", "c/x/y/z", "q"])
DATA = st.binary(max_size=20)
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), KEYS, DATA, st.booleans()),
    st.tuples(st.just("get"), KEYS, st.integers(0, 25), st.none() | st.integers(0, 25)),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("delete_prefix"), PREFIXES.filter(bool)),
    st.tuples(st.just("list"), PREFIXES, st.none() | KEYS | PREFIXES),
)


class Model:
    """An object store in the fewest words."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes, if_absent: bool) -> object:
        if if_absent and key in self.objects:
            return ObjectExists
        self.objects[key] = data
        return None

    def get(self, key: str, offset: int, length: int | None) -> object:
        if key not in self.objects:
            return ObjectNotFound
        return self.objects[key][offset : None if length is None else offset + length]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def delete_prefix(self, prefix: str) -> object:
        found = [key for key in self.objects if key.startswith(prefix)]
        for key in found:
            del self.objects[key]
        return len(found)

    def list(self, prefix: str, start_after: str | None) -> object:
        return sorted(key for key in self.objects if key.startswith(prefix) and key > (start_after or ""))


class Tried:
    """A store behind the model's calls."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def put(self, key: str, data: bytes, if_absent: bool) -> object:
        try:
            return self.store.put(key, data, if_absent=if_absent)
        except ObjectExists:
            return ObjectExists

    def get(self, key: str, offset: int, length: int | None) -> object:
        try:
            return read(self.store.open(key, offset=offset, length=length))
        except ObjectNotFound:
            return ObjectNotFound

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def delete_prefix(self, prefix: str) -> object:
        return self.store.delete_prefix(prefix)

    def list(self, prefix: str, start_after: str | None) -> object:
        return keys(self.store, prefix, start_after)


ROOMS = itertools.count()


@pytest.mark.parametrize("kind", ["memory", "filesystem"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, max_size=30))
def test_any_sequence_of_calls_does_what_a_dict_would(kind: str, tmp_path: Path, operations: list[tuple]) -> None:
    root = tmp_path / f"objects-{next(ROOMS)}"
    model, tried = Model(), Tried(MemoryStore() if kind == "memory" else FilesystemStore(root))
    for name, *arguments in operations:
        assert getattr(tried, name)(*arguments) == getattr(model, name)(*arguments)
    assert {key: tried.store.get(key) for key in keys(tried.store)} == model.objects
    if kind == "filesystem" and not model.objects:
        assert [path.name for path in root.iterdir()] == [".tmp"]  # no empty directory stays
