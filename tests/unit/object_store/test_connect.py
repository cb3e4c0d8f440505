"""Settings name the store."""

from pathlib import Path

import pytest

from schemas.errors import StoreUnavailable
from turnstream.object_store import connect
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.minio import MinioStore
from turnstream.settings import Settings, StoreKind


def test_objects_of_one_machine_lie_in_the_data_directory(tmp_path: Path) -> None:
    store = connect(Settings(_env_file=None, data_dir=tmp_path, object_store=StoreKind.FILESYSTEM))
    assert isinstance(store, FilesystemStore)
    store.put("k", b"x")
    assert (tmp_path / "objects" / "k").read_bytes() == b"x"


def test_a_store_on_the_network_is_not_waited_for() -> None:
    settings = Settings(
        _env_file=None, object_store=StoreKind.MINIO, minio_endpoint="store.invalid:9000", minio_bucket="b-1"
    )
    store = connect(settings)
    assert isinstance(store, MinioStore)
    assert store.bucket == "b-1"
    store.close()


def test_settings_that_cannot_be_right_are_refused_at_once() -> None:
    settings = Settings(_env_file=None, object_store=StoreKind.MINIO, minio_bucket="No Bucket")
    with pytest.raises(StoreUnavailable, match="MINIO_BUCKET"):
        connect(settings)
