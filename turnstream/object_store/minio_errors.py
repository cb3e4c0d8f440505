"""What the MinIO client and the HTTP library under it raise, in the words of the port."""

from collections.abc import Generator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from minio.error import MinioException, S3Error
from urllib3 import exceptions as http

from schemas.errors import StoreUnavailable
from turnstream.object_store.base import ObjectNotFound

# The first row that fits counts; a test goes through all exceptions of both libraries.
_TROUBLES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((http.NameResolutionError,), "its name is not known: see MINIO_ENDPOINT"),
    ((http.ConnectTimeoutError, http.NewConnectionError), "nothing answers there: is it running? See MINIO_ENDPOINT"),
    ((http.TimeoutError,), "it did not answer in time"),
    ((http.SSLError, http.ProxyError), "TLS or proxy failed: see MINIO_SECURE"),
    ((http.LocationValueError,), "that is no address: see MINIO_ENDPOINT"),
    ((http.HTTPError,), "the connection failed"),
    ((MinioException, ParseError), "the answer is not what an S3 server says: see MINIO_ENDPOINT"),
)
_REFUSALS = {
    "AccessDenied": "the key may not do that: see MINIO_ACCESS_KEY, MINIO_SECRET_KEY and the key's policy",
    "InvalidAccessKeyId": "the key is not known: see MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "the secret is wrong: see MINIO_SECRET_KEY",
    "AuthorizationHeaderMalformed": "the region is another one: see MINIO_REGION",
    "XMinioStorageFull": "its disks are full: free some space",
    "NoSuchBucket": "the bucket is gone; it will be made again",
    "PreconditionFailed": "the object was replaced while it was read",
}


@contextmanager
def translated(where: str, key: str) -> Generator[None]:
    """Turns every error of a call to the store at `where` into one of the port's."""
    try:
        yield
    except S3Error as error:
        if error.code == "NoSuchKey":
            raise ObjectNotFound(key) from None
        said = _REFUSALS.get(error.code or "", error.message or "no reason given")
        raise StoreUnavailable(f"the object store {where} refuses ({error.code}): {said}") from error
    except (http.HTTPError, MinioException, ParseError) as error:
        raise StoreUnavailable(f"the object store {where}: {_trouble(error)}") from error


def _trouble(error: Exception) -> str:
    """What a failure of the connection means and what to do about it."""
    cause = getattr(error, "reason", None) if isinstance(error, http.MaxRetryError) else None
    seen = cause if isinstance(cause, Exception) else error
    return next(text for kinds, text in _TROUBLES if isinstance(seen, kinds))
