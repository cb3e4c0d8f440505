"""Settings name the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.errors import StoreUnavailable
from tests.support.stores import S3Server
from turnstream.object_store import connect
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.minio import MinioStore
from turnstream.settings import Settings, StoreKind


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


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


@pytest.mark.parametrize(
    "public", ["", "https://store.example.org", "http://127.0.0.1:9000/", "https://[2001:db8::1]:9443"]
)
def test_presigned_addresses_lead_to_the_public_one(s3: S3Server, public: str) -> None:
    store = connect(
        Settings(
            _env_file=None,
            object_store=StoreKind.MINIO,
            minio_endpoint=s3.endpoint,
            minio_access_key="any",
            minio_secret_key="any",
            minio_bucket="uploads-1",
            minio_public_url=public,
        )
    )
    address = store.presign_put("uploads/a", expires=60)
    assert address is not None
    assert address.startswith(f"{public.rstrip('/') or f'http://{s3.endpoint}'}/uploads-1/uploads/a?X-Amz-Algorithm=")
    store.close()


@pytest.mark.parametrize("public", ["store.example.org", "ftp://x", "https://x/path", "https://me@x", "https://a b"])
def test_a_public_address_is_a_scheme_and_a_host(public: str) -> None:
    with pytest.raises(ValidationError, match="minio_public_url"):
        Settings(_env_file=None, minio_public_url=public)
