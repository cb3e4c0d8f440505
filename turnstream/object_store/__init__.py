"""Where everything that must last is kept: bytes under keys.

`connect` gives the adapter that the settings name; `MemoryStore` in `turnstream.object_store.memory` is the twin for tests.
"""

from turnstream.object_store.base import BadKey, ObjectExists, ObjectInfo, ObjectNotFound, ObjectStore, exists
from turnstream.settings import Settings, StoreKind

__all__ = ["BadKey", "ObjectExists", "ObjectInfo", "ObjectNotFound", "ObjectStore", "connect", "exists"]


def connect(settings: Settings) -> ObjectStore:
    """The store that the settings name. Raises StoreUnavailable where they cannot be right."""
    match settings.object_store:
        case StoreKind.FILESYSTEM:
            from turnstream.object_store.filesystem import FilesystemStore

            return FilesystemStore(settings.objects_dir)
        case StoreKind.MINIO:
            from turnstream.object_store.minio import MinioStore

            return MinioStore(
                settings.minio_endpoint,
                access_key=settings.minio_access_key.get_secret_value(),
                secret_key=settings.minio_secret_key.get_secret_value(),
                bucket=settings.minio_bucket,
                region=settings.minio_region,
                secure=settings.minio_secure,
                public_url=settings.minio_public_url,
                timeout=settings.store_timeout,
            )
