"""Objects in a bucket of MinIO or another S3 server.

Every wait is bounded: a request is tried three times within `timeout` seconds, and a server's own Retry-After is not obeyed.
A stream larger than a part takes one request for each; one that breaks while it is read goes on where it broke.
"""

import io
import secrets
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.helpers import check_bucket_name
from urllib3.response import BaseHTTPResponse

from schemas.errors import StoreUnavailable
from turnstream.object_store import minio_errors
from turnstream.object_store.base import BadKey, ObjectExists, ObjectInfo, ObjectStore
from turnstream.object_store.keys import check_key, check_prefix
from turnstream.object_store.minio_body import Body
from turnstream.object_store.streams import Measured

PART_SIZE = 5 << 20
"""Bytes of a part: the least that S3 takes, and what a stream holds in memory at most (twice)."""
TRIES = 3
CONNECT_TIMEOUT = 2.0
CONNECTIONS = 16
WRITE_ID = "turnstream-write"
"""Metadata of an object written with `if_absent`: who wrote it."""
PRESIGN_LIMIT = timedelta(days=7)


class MinioStore(ObjectStore):
    def __init__(
        self,
        endpoint: str,
        *,
        access_key: str,
        secret_key: str,
        bucket: str,
        region: str,
        secure: bool,
        timeout: float,
        public_url: str = "",
    ) -> None:
        """Connects at the first call, which makes the bucket if absent. `public_url`: where presigned addresses lead, if not to
        `endpoint`. Raises StoreUnavailable for an impossible address.
        """
        self.bucket = bucket
        self._where = f"{endpoint}/{bucket}"
        self._bucket_made = False
        self._pool = _Pool(timeout)
        try:
            check_bucket_name(bucket, strict=True)
        except ValueError as error:
            raise StoreUnavailable(f"{error} (see MINIO_BUCKET)") from error

        def client(host: str, secure: bool, setting: str) -> Minio:
            try:
                return Minio(
                    host,
                    access_key=access_key or None,  # without one: anonymous
                    secret_key=secret_key,
                    region=region,  # or else the client asks for it first
                    secure=secure,
                    http_client=self._pool,
                )
            except ValueError as error:
                raise StoreUnavailable(f"the object store {host}/{bucket}: {error} (see {setting})") from error

        self._client = client(endpoint, secure, "MINIO_ENDPOINT")
        self._signer = self._client
        """Only writes addresses: a signature is good for the host that it was made for, which may be out of our own reach."""
        if public_url:
            public = urlsplit(public_url)
            self._signer = client(public.netloc, public.scheme == "https", "MINIO_PUBLIC_URL")

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.put_stream(key, io.BytesIO(data), size=len(data), if_absent=if_absent)

    def put_stream(self, key: str, stream: BinaryIO, *, size: int | None = None, if_absent: bool = False) -> None:
        check_key(key)
        write_id = secrets.token_hex(8) if if_absent else None
        with self._calling(key):
            bucket = self._made_bucket()
            try:
                with self._pool.only_if_absent(if_absent):
                    self._client.put_object(
                        bucket,
                        key,
                        # Unknown to the client even if known to us: so it reads to the end, where Measured compares.
                        cast(BinaryIO, Measured(stream, size)),
                        length=-1,
                        part_size=PART_SIZE,
                        num_parallel_uploads=1,  # more would hold more parts, and finish some after a failure
                        metadata={WRITE_ID: write_id} if write_id else None,
                    )
            except S3Error as error:
                if error.code != "PreconditionFailed" or write_id is None:
                    raise
                if not self._is_ours(key, write_id):
                    raise ObjectExists(key) from None

    def _is_ours(self, key: str, write_id: str) -> bool:
        """Whether the object that is in the way is our own: its first try came through, only the answer was lost."""
        try:
            metadata = self._client.stat_object(self.bucket, key).metadata or {}
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise
            return False  # deleted since
        return metadata.get(f"x-amz-meta-{WRITE_ID}") == write_id

    def get(self, key: str) -> bytes:
        with self.open(key) as stream:
            return stream.read()

    @contextmanager
    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Generator[BinaryIO]:
        check_key(key)
        response = self._request_range(key, offset, length)
        if response is None:
            yield io.BytesIO()
            return

        rest = partial(self._rest, key, response.headers.get("ETag", "*"), offset, length)
        with io.BufferedReader(Body(self._where, key, response, rest), 1 << 16) as stream:
            yield stream

    def _rest(self, key: str, etag: str, offset: int, length: int | None, done: int) -> BaseHTTPResponse:
        """What follows `done` bytes of a range, of the object with this ETag alone."""
        left = 0 if length is None else length - done
        with self._calling(key):
            answer = self._client.get_object(self.bucket, key, offset + done, left, request_headers={"If-Match": etag})
            if offset + done and answer.status != HTTPStatus.PARTIAL_CONTENT:
                raise StoreUnavailable(f"the object store {self._where} broke off, and gives no parts of objects")
            return answer

    def _request_range(self, key: str, offset: int, length: int | None) -> BaseHTTPResponse | None:
        if length == 0:  # 0 means "all" to the client
            self.stat(key)
            return None
        with self._calling(key):
            try:
                return self._client.get_object(self._made_bucket(), key, offset=offset, length=length or 0)
            except S3Error as error:
                if error.code != "InvalidRange":
                    raise
                return None

    def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        with self._calling(key):
            found = self._client.stat_object(self._made_bucket(), key)
            assert found.size is not None and found.last_modified is not None  # noqa: S101 - a HEAD always says both
            return ObjectInfo(key, found.size, found.last_modified)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return self._list(prefix, start_after)

    def _list(self, prefix: str, after: str | None) -> Iterator[ObjectInfo]:
        with self._calling(prefix):
            bucket = self._made_bucket()
            for found in self._client.list_objects(bucket, prefix, recursive=True, start_after=after):
                assert found.object_name and found.size is not None and found.last_modified  # noqa: S101 - as above
                yield ObjectInfo(found.object_name, found.size, found.last_modified)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._calling(key):
            self._client.remove_object(self._made_bucket(), key)

    def delete_prefix(self, prefix: str) -> int:
        if not prefix:
            raise BadKey("an empty prefix would remove everything")
        keys = [info.key for info in self.list(prefix)]
        with self._calling(prefix):
            for error in self._client.remove_objects(self.bucket, map(DeleteObject, keys)):
                raise StoreUnavailable(f"the object store {self._where} does not remove {error.name}: {error.message}")
        return len(keys)

    def presign_put(self, key: str, *, expires: float) -> str:
        check_key(key)
        lifetime = min(max(timedelta(seconds=expires), timedelta(seconds=1)), PRESIGN_LIMIT)
        with self._calling(key):
            return self._signer.presigned_put_object(self._made_bucket(), key, expires=lifetime)

    def close(self) -> None:
        self._pool.clear()

    def _made_bucket(self) -> str:
        if not self._bucket_made:
            if not self._client.bucket_exists(self.bucket):
                try:
                    self._client.make_bucket(self.bucket)
                except S3Error as error:  # another process was faster
                    if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                        raise
            self._bucket_made = True
        return self.bucket

    @contextmanager
    def _calling(self, key: str) -> Generator[None]:
        with minio_errors.translated(self._where, key):
            try:
                yield
            except S3Error as error:
                if error.code == "NoSuchBucket":
                    self._bucket_made = False
                raise


class _Pool(urllib3.PoolManager):
    """Connections with bounded waits, and the header for which the client's public calls have no place."""

    def __init__(self, timeout: float) -> None:
        super().__init__(
            maxsize=CONNECTIONS,
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, timeout / TRIES), read=timeout / TRIES),
            retries=_Retry(
                total=TRIES - 1,
                backoff_factor=0.2,
                status_forcelist=[429, 500, 502, 503, 504],
                raise_on_status=False,  # the last answer says more than "too many retries"
                respect_retry_after_header=False,  # it may ask for minutes
            ),
        )
        self._asked = threading.local()

    @contextmanager
    def only_if_absent(self, wanted: bool) -> Generator[None]:
        """Objects that this thread makes within are made only where their key is free; else the server answers 412."""
        self._asked.if_absent = wanted
        try:
            yield
        finally:
            self._asked.if_absent = False

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> BaseHTTPResponse:  # pyright: ignore[reportIncompatibleMethodOverride]
        if getattr(self._asked, "if_absent", False) and _makes_object(method, url):
            # The header is not among the signed ones, which S3 allows.
            kw["headers"] = {**kw["headers"], "If-None-Match": "*"}
        return super().urlopen(method, url, redirect=redirect, **kw)


class _Retry(urllib3.Retry):
    """Tries a PUT again that MinIO refuses as 403 or 404: one whose folder it removed in that moment, with a neighbour."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        removed_folder = method == "PUT" and status_code in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
        return removed_folder or super().is_retry(method, status_code, has_retry_after)


def _makes_object(method: str, url: str) -> bool:
    """A whole object's PUT, or the POST that completes one sent in parts; not what comes between."""
    return (method == "PUT" and "partNumber=" not in url) or (method == "POST" and "uploadId=" in url)
