"""What is particular to a store on the network: failures, retries, and no connection left behind."""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import isclass
from threading import Lock, Thread
from typing import Any
from xml.etree.ElementTree import ParseError

import minio.error
import pytest
import urllib3.exceptions

from schemas.errors import StoreUnavailable
from tests.support.stores import App, Environ, S3Server, minio_store
from turnstream.object_store.base import ObjectExists, ObjectNotFound
from turnstream.object_store.minio import PART_SIZE, TRIES, MinioStore
from turnstream.object_store.minio_errors import translated

StartResponse = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def store(server: S3Server) -> Iterator[MinioStore]:
    store = minio_store(server.endpoint)
    store.put("ready", b"")  # the bucket is made
    yield store
    server.fault = None
    store.close()


class Requests:
    """Counts requests, and lets a fault take the place of the first `times`."""

    def __init__(self, fault: Callable[[Environ, StartResponse, App], Iterable[bytes]], times: int = 1000) -> None:
        self.seen: list[str] = []
        self._fault = fault
        self._times = times
        self._lock = Lock()

    def __call__(self, environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
        with self._lock:
            self.seen.append(environ["REQUEST_METHOD"])
            faulty = len(self.seen) <= self._times
        return self._fault(environ, start_response, serve) if faulty else serve(environ, start_response)


def answer(status: str, body: bytes = b"", **headers: str) -> Callable[[Environ, StartResponse, App], Iterable[bytes]]:
    def fault(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        fields = {
            "Content-Length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        start_response(status, list(fields.items()))
        return [body]

    return fault


def lose_the_answer(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
    """Does what was asked for and hangs up before saying so."""
    list(serve(environ, lambda *_: None))
    environ["werkzeug.socket"].shutdown(2)
    start_response("200 OK", [("Content-Length", "0"), ("Connection", "close")])
    return [b""]


def pass_on(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
    return serve(environ, start_response)


def s3_error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()


# Retries


def test_a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses(server: S3Server, store: MinioStore) -> None:
    server.fault = requests = Requests(lose_the_answer, times=1)
    store.put("k", b"mine", if_absent=True)
    assert requests.seen == ["PUT", "PUT", "HEAD"]
    assert store.get("k") == b"mine"


def test_equal_bytes_of_another_writer_are_another_writers(server: S3Server, store: MinioStore) -> None:
    other = minio_store(server.endpoint, bucket=store.bucket)
    other.put("k", b"the same", if_absent=True)
    other.close()
    with pytest.raises(ObjectExists):
        store.put("k", b"the same", if_absent=True)


def test_a_short_outage_is_waited_out(server: S3Server, store: MinioStore) -> None:
    server.fault = requests = Requests(answer("503 Service Unavailable"), times=TRIES - 1)
    store.put("k", b"x")
    assert requests.seen == ["PUT"] * TRIES


@pytest.mark.parametrize(("status", "code"), [("403 Forbidden", "AccessDenied"), ("404 Not Found", "NoSuchKey")])
def test_a_write_whose_folder_went_with_a_neighbour_is_tried_again(
    server: S3Server, store: MinioStore, status: str, code: str
) -> None:
    refuse = answer(status, s3_error(code), Content_Type="application/xml")
    server.fault = requests = Requests(refuse, times=TRIES - 1)
    store.put("k", b"x")
    assert requests.seen == ["PUT"] * TRIES
    server.fault = requests = Requests(refuse, times=1)
    with pytest.raises((StoreUnavailable, ObjectNotFound)):
        store.get("k")
    assert requests.seen == ["GET"]


def test_a_server_that_wants_a_long_pause_is_unavailable_at_once(server: S3Server, store: MinioStore) -> None:
    xml = s3_error("SlowDown")
    server.fault = Requests(answer("503 Slow", xml, Retry_After="120", Content_Type="application/xml"))
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        store.get("k")
    assert time.monotonic() - started < 5


def test_a_failure_between_parts_keeps_nothing(server: S3Server, store: MinioStore) -> None:
    def refuse_second_part(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
        if "partNumber=2" in environ["QUERY_STRING"]:
            return answer("507 Full", s3_error("XMinioStorageFull"), Content_Type="application/xml")(
                environ, start_response, serve
            )
        return serve(environ, start_response)

    server.fault = requests = Requests(refuse_second_part)
    with pytest.raises(StoreUnavailable, match="disks are full"):
        store.put_stream("k", io.BytesIO(bytes(PART_SIZE * 3)))
    assert requests.seen == ["POST", "PUT", "PUT", "DELETE"]  # begun, two parts, given up
    assert [info.key for info in store.list("")] == ["ready"]


# Refusals


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        ("403 Forbidden", "AccessDenied", "MINIO_ACCESS_KEY"),
        ("403 Forbidden", "InvalidAccessKeyId", "MINIO_ACCESS_KEY"),
        ("403 Forbidden", "SignatureDoesNotMatch", "MINIO_SECRET_KEY"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", "MINIO_REGION"),
        ("409 Conflict", "ConditionalRequestConflict", "so it is"),
    ],
)
def test_a_refusal_says_what_to_do(server: S3Server, store: MinioStore, status: str, code: str, remedy: str) -> None:
    server.fault = Requests(answer(status, s3_error(code), Content_Type="application/xml"))
    for call in (lambda: store.put("k", b"x"), lambda: store.get("k"), lambda: list(store.list("k"))):
        with pytest.raises(StoreUnavailable, match=f"({code}).*{remedy}"):
            call()


def test_what_is_no_s3_server_is_said_so(server: S3Server, store: MinioStore) -> None:
    for fault in (
        answer("200 OK", b"<html>Welcome</p>", Content_Type="text/html"),
        answer("404 Not Found", b"<html>", Content_Type="text/html"),
        answer("405 Not Allowed"),
    ):
        server.fault = Requests(fault)
        with pytest.raises(StoreUnavailable, match="not what an S3 server says"):
            list(store.list(""))


def test_an_object_that_cannot_be_removed_is_not_counted(server: S3Server, store: MinioStore) -> None:
    xml = b"<DeleteResult><Error><Key>ready</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"

    def keep(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            return answer("200 OK", xml, Content_Type="application/xml")(environ, start_response, serve)
        return serve(environ, start_response)

    server.fault = Requests(keep)
    with pytest.raises(StoreUnavailable, match="does not remove ready: no"):
        store.delete_prefix("re")


def test_an_address_that_cannot_be_one_is_refused_at_once() -> None:
    with pytest.raises(StoreUnavailable, match="MINIO_ENDPOINT"):
        minio_store("http://127.0.0.1:9000/path")


@pytest.mark.parametrize("bucket", ["ab", "Upper", "under_score", "192.168.0.1"])
def test_a_bucket_name_that_no_server_takes_is_refused_at_once(bucket: str) -> None:
    with pytest.raises(StoreUnavailable, match="MINIO_BUCKET"):
        minio_store("127.0.0.1:9", bucket=bucket)


EXCEPTIONS = [
    kind
    for module in (urllib3.exceptions, minio.error)
    for kind in vars(module).values()
    if isclass(kind)
    and issubclass(kind, Exception)
    and not issubclass(kind, Warning)
    and kind.__module__ == module.__name__
    # Raised for a wrong proxy setting when a pool is made, and by the administrator's client: we have neither.
    and kind not in {urllib3.exceptions.ProxySchemeUnsupported, minio.error.MinioAdminException}
]


@pytest.mark.parametrize("kind", [*EXCEPTIONS, ParseError], ids=lambda kind: kind.__name__)
def test_every_error_of_the_client_is_one_of_the_port(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    for name in ("code", "message", "reason"):
        object.__setattr__(error, name, None)
    with pytest.raises(StoreUnavailable, match="here"), translated("here", "k"):
        raise error


# The bucket


def test_the_bucket_is_made_once_by_many(server: S3Server) -> None:
    first = minio_store(server.endpoint)
    stores = [first, *(minio_store(server.endpoint, bucket=first.bucket) for _ in range(5))]
    server.fault = requests = Requests(pass_on)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: stores[number].put(f"k{number}", b"x"), range(6)))
    assert len([info for info in first.list("k")]) == 6
    requests.seen.clear()
    first.put("k", b"x")
    assert requests.seen == ["PUT"]  # nobody asks for the bucket again
    server.fault = None
    for store in stores:
        store.close()


@pytest.mark.parametrize("code", ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"])
def test_a_bucket_that_another_process_just_made_is_ours_too(server: S3Server, code: str) -> None:
    def too_late(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD":
            return answer("404 Not Found")(environ, start_response, serve)
        list(serve(environ, lambda *_: None))
        return answer("409 Conflict", s3_error(code), Content_Type="application/xml")(environ, start_response, serve)

    store = minio_store(server.endpoint)
    server.fault = Requests(too_late, times=2)
    store.put("k", b"x")
    server.fault = None
    assert store.get("k") == b"x"
    store.close()


def test_a_bucket_that_vanished_is_made_again(server: S3Server, store: MinioStore) -> None:
    gone = answer("404 Not Found", s3_error("NoSuchBucket"), Content_Type="application/xml")
    server.fault = Requests(gone, times=TRIES)
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        store.put("k", b"x")
    server.fault = requests = Requests(pass_on)
    store.put("k", b"x")
    assert requests.seen == ["HEAD", "PUT"]


# Connections


def broken_off(after: int) -> Callable[[Environ, StartResponse, App], Iterable[bytes]]:
    """The server's own answer, up to so many bytes of its body."""

    def fault(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
        body = b"".join(serve(environ, start_response))
        return [body[:after]]

    return fault


CONTENT = bytes(range(250)) * 4000


def test_a_body_that_breaks_off_is_fetched_on_from_where_it_broke(server: S3Server, store: MinioStore) -> None:
    store.put("k", CONTENT)
    server.fault = requests = Requests(broken_off(after=400_000), times=2)
    assert store.get("k") == CONTENT
    assert requests.seen == ["GET"] * 3
    server.fault = requests = Requests(broken_off(after=100_000), times=1)
    with store.open("k", offset=777, length=555_555) as stream:
        assert stream.read() == CONTENT[777 : 777 + 555_555]
    assert requests.seen == ["GET"] * 2


def test_a_body_that_breaks_off_each_time_is_unavailable(server: S3Server, store: MinioStore) -> None:
    store.put("k", CONTENT)
    server.fault = requests = Requests(broken_off(after=0))
    with pytest.raises(StoreUnavailable, match="connection failed"):
        store.get("k")
    assert requests.seen == ["GET"] * TRIES


def test_what_is_replaced_while_it_is_read_is_not_mixed(server: S3Server, store: MinioStore) -> None:
    store.put("k", CONTENT)
    server.fault = Requests(broken_off(after=400_000), times=1)
    with store.open("k") as stream:
        stream.read(1000)
        store.put("k", CONTENT[::-1])
        with pytest.raises(StoreUnavailable, match="replaced while it was read"):
            stream.read()


def test_a_server_that_gives_the_whole_for_a_part_is_not_believed(server: S3Server, store: MinioStore) -> None:
    store.put("k", CONTENT)

    def whole(environ: Environ, start_response: StartResponse, serve: App) -> Iterable[bytes]:
        environ.pop("HTTP_RANGE", None)
        return broken_off(after=400_000)(environ, start_response, serve)

    server.fault = Requests(whole)
    with pytest.raises(StoreUnavailable, match="gives no parts"):
        store.get("k")


class KeptAlive(BaseHTTPRequestHandler):
    """Every object but `absent` is 100,000 bytes. moto's server hangs up after each answer; this one does not."""

    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        KeptAlive.connections += 1
        super().setup()

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        if self.path.endswith("absent"):
            self._answer(404, s3_error("NoSuchKey"))
        elif "Range" in self.headers:
            self._answer(416, s3_error("InvalidRange"))
        else:
            self._answer(200, bytes(100_000))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_reads_use_one_connection_however_they_end() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), KeptAlive) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        store = minio_store(f"127.0.0.1:{server.server_port}")
        for _ in range(5):
            assert len(store.get("k")) == 100_000
            with store.open("k", offset=200_000) as stream:
                assert stream.read() == b""
            with pytest.raises(ObjectNotFound):
                store.get("absent")
        assert KeptAlive.connections == 1
        with store.open("k") as stream:
            stream.read(1)
        store.get("k")
        assert KeptAlive.connections == 2  # the rest of a body left half read is not waited for
        store.close()
        server.shutdown()
        thread.join()
