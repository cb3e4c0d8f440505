"""A small synchronous client of the HTTP API.

    with Client("http://127.0.0.1:8000", key="...") as client:
        job = client.submit(Path("meeting.wav"), DiarizeParams(max_speakers=4))
        for view in client.wait(job.id):
            print(view.state, view.progress)
        result = client.result(job.id)
        again = client.rerun(job.id, {"num_speakers": 3})
        for view in client.wait(again.id, run=again.run):
            ...
        result = client.result(again.id, run=again.run)
        job = client.submit(Path("meeting.wav"), {"language": "en"}, operation="transcript")
        ...
        transcript = client.result(job.id, TranscriptResult)

What the service answers with a problem document is raised as the error of `schemas.errors` that has its code.
"""

import io
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx
from pydantic import BaseModel, ValidationError

from schemas.base import Form
from schemas.errors import (
    ErrorInfo,
    FileUnusable,
    InternalError,
    KeyInUse,
    ServiceUnreachable,
    SettingsInvalid,
    TurnstreamError,
    WaitExpired,
    from_info,
)
from schemas.jobs import DEFAULT_OPERATION, JobPage, JobRuns, JobView, Lane
from schemas.results import DiarizationResult
from turnstream.patience import Passing, Patience
from turnstream.retry_after import read_retry_after

Model = TypeVar("Model", bound=BaseModel)

POLL_FIRST, POLL_LATER, POLL_PATIENCE = 0.2, 1.0, 10.0
"""Seconds between two looks at a job: at first, and once it has taken longer than the third."""
UPLOAD_CHUNK_TIMEOUT = 60.0
"""Seconds the service may take for one piece of an upload, and for its answer after the last one."""
TIMEOUT = 30.0
"""Seconds it may take for the answer to any other call, beyond those it is asked to wait."""
CONNECT_TIMEOUT = 5.0
"""Seconds a connection may take to be made."""
PAGE = 100
"""Jobs that are asked for at once, at most."""
GATEWAY = {502, 503, 504}
"""What a proxy answers whose service is away."""


class Client:
    """May be shared between threads. `patience` says how often a call is tried again; reads are, twice as often.

    Here, or at its first call, an address that is none raises SettingsInvalid.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._patience = patience or Patience()
        self._timeout = timeout
        with self._address():
            self._http = httpx.Client(
                base_url=self.url,
                headers={b"x-api-key": key.encode()} if key else {},
                timeout=httpx.Timeout(timeout, connect=CONNECT_TIMEOUT),
                transport=transport,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        path: Path | None,
        params: Form | Mapping[str, object] | None = None,
        *,
        operation: str = DEFAULT_OPERATION,
        lane: Lane = Lane.INTERACTIVE,
        webhook_url: str | None = None,
        idempotency_key: str | None = None,
        sent: Callable[[int], None] = lambda size: None,
    ) -> JobView:
        """Upload a recording as it is read from the disk, and return the accepted job. Operations that take no recording
        have None for `path`.

        `sent` hears the size of each piece. Without an `idempotency_key` it is tried again only where the service certainly
        kept nothing; with one, whatever broke: the service makes one job of all tries.
        """
        if isinstance(params, Form):
            params = params.model_dump(exclude_defaults=True)
        fields = {"operation": operation, "lane": lane.value} | {name: str(v) for name, v in (params or {}).items()}
        fields |= {"webhook_url": webhook_url} if webhook_url else {}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}

        def send() -> httpx.Response:
            with ExitStack() as opened:
                # Without a recording httpx would send what is no multipart form, so the fields go the same way as it.
                form: list[tuple[str, Any]] = [(field, (None, value)) for field, value in fields.items()]
                if path is not None:
                    form.append(("audio", (_sendable(path.name), opened.enter_context(_open(path, sent)))))
                return self._http.post("/api/v1/jobs", files=form, headers=headers, timeout=UPLOAD_CHUNK_TIMEOUT)

        return self._read(self._call(send, repeatable=idempotency_key is not None), JobView)

    def rerun(self, job_id: str, params: Form | Mapping[str, object] | None = None, *, run: str = "") -> JobView:
        """Have a job computed once more with these parameters; those that are not given stay, and None or an empty text takes
        one back. Under the name `run`, by default the next free of run-2, run-3 and so on. Raises RunExists.
        """
        if isinstance(params, Form):
            params = params.model_dump(exclude_defaults=True)
        fields = {"run": run} | {name: "" if v is None else str(v) for name, v in (params or {}).items()}
        form: list[tuple[str, Any]] = [(name, (None, value)) for name, value in fields.items()]
        answer = self._call(lambda: self._http.post(f"/api/v1/jobs/{job_id}/runs", files=form), repeatable=bool(run))
        return self._read(answer, JobView)

    def runs(self, job_id: str) -> list[JobView]:
        """All runs of a job, in the order in which they were asked for."""
        return self._read(self._get(f"/api/v1/jobs/{job_id}/runs"), JobRuns).runs

    def jobs(self, *, at_once: int = PAGE) -> Iterator[JobView]:
        """All jobs of this key, newest first, fetched as they are taken, `at_once` with a call."""
        after: dict[str, str] = {}
        while True:
            page = self._read(self._get("/api/v1/jobs", limit=str(at_once), **after), JobPage)
            yield from page.jobs
            if page.next is None:
                return
            after = {"after": page.next}

    def job(self, job_id: str, *, run: str | None = None, wait: float = 0.0) -> JobView:
        """`wait`: seconds within which the service may hold its answer back until the job has ended."""
        headers = {"Prefer": f"wait={wait:.0f}"} if wait else {}
        path, timeout = f"/api/v1/jobs/{job_id}", httpx.Timeout(self._timeout + wait, connect=CONNECT_TIMEOUT)
        send = partial(self._http.get, path, params=_query(run), headers=headers, timeout=timeout)
        return self._read(self._call(send, repeatable=True), JobView)

    def wait(self, job_id: str, *, run: str | None = None, timeout: float | None = None) -> Iterator[JobView]:
        """The job as it is, again and again until it has ended; the last one tells how.

        Raises WaitExpired after `timeout` seconds.
        """
        started = time.monotonic()
        while True:
            view = self.job(job_id, run=run)
            yield view
            waited = time.monotonic() - started
            if view.state.ended:
                return
            if timeout is not None and waited > timeout:
                raise WaitExpired(f"job {job_id} is {view.state} after {waited:.0f} s; it goes on")
            time.sleep(POLL_FIRST if waited < POLL_PATIENCE else POLL_LATER)

    @overload
    def result(self, job_id: str, *, run: str | None = None) -> DiarizationResult: ...
    @overload
    def result(self, job_id: str, model: type[Model], *, run: str | None = None) -> Model: ...
    def result(self, job_id: str, model: type[BaseModel] = DiarizationResult, *, run: str | None = None) -> BaseModel:
        """As the result model of the job's operation. Raises ResultNotReady, JobCancelled, or the error the job failed with."""
        return self._read(self._get(f"/api/v1/jobs/{job_id}/result", **_query(run)), model)

    def result_as(self, job_id: str, format_: str, *, run: str | None = None) -> bytes:
        """As the service writes it in this format of the job's operation. Raises NotAcceptable and what `result` does."""
        return self._get(f"/api/v1/jobs/{job_id}/result", format=format_, **_query(run)).content

    def cancel(self, job_id: str, *, run: str | None = None) -> JobView:
        send = partial(self._http.post, f"/api/v1/jobs/{job_id}/cancel", params=_query(run))
        return self._read(self._call(send), JobView)

    def erase(self, job_id: str) -> None:
        self._call(partial(self._http.delete, f"/api/v1/jobs/{job_id}"))

    def ready(self) -> bool:
        """Whether the service answers and has all it stands on."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    def _get(self, path: str, **query: str) -> httpx.Response:
        return self._call(lambda: self._http.get(path, params=query), repeatable=True)

    def _call(self, send: Callable[[], httpx.Response], *, repeatable: bool = False) -> httpx.Response:
        """The first good answer. Raises the error the service named, or ServiceUnreachable.

        What is not `repeatable` is sent again only where the service cannot have taken it.
        """
        return self._patience.call(partial(self._once, send, repeatable), times=2 if repeatable else 1)

    def _once(self, send: Callable[[], httpx.Response], repeatable: bool) -> httpx.Response:
        try:
            with self._address():
                response = send()
        except httpx.TransportError as error:
            if repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise Passing(self._unreachable(error)) from error
            raise self._unreachable(error) from error
        if response.is_success:
            return response
        error = problem(response)
        after = _retry_after(response, error)
        if after is not None or (repeatable and response.status_code in GATEWAY and not _from_service(response)):
            raise Passing(error, after)
        raise error

    @contextmanager
    def _address(self) -> Generator[None]:
        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise SettingsInvalid(f"{self.url!r} is not an address such as http://127.0.0.1:8000") from error

    def _unreachable(self, error: Exception) -> ServiceUnreachable:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ServiceUnreachable(
                f"nothing answers at {self.url}: start it with `turnstream up`, or name it with --url or TURNSTREAM_URL"
            )
        return ServiceUnreachable(f"the connection to {self.url} broke: {error or type(error).__name__}")

    def _read(self, response: httpx.Response, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise InternalError(
                f"{self.url} does not answer as Turnstream does ({error.error_count()} fields)"
            ) from error


def problem(response: httpx.Response) -> TurnstreamError:
    """The error that a problem document (RFC 9457) stands for."""
    try:
        document: Any = response.json()
        return from_info(ErrorInfo(code=document["code"], detail=document.get("detail") or document.get("title", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return InternalError(f"{response.request.url} answered {response.status_code} {response.reason_phrase}")


def _query(run: str | None) -> dict[str, str]:
    return {"run": run} if run else {}


def _from_service(response: httpx.Response) -> bool:
    return response.headers.get("content-type", "").startswith("application/problem+json")


def _retry_after(response: httpx.Response, error: TurnstreamError) -> float | None:
    """Seconds after which a service that took nothing asks to be tried again."""
    if response.status_code not in {429, 503} and not isinstance(error, KeyInUse):
        return None
    return read_retry_after(response.headers.get("retry-after"), datetime.now(UTC))


def _sendable(name: str) -> str:
    """A file's name, which may hold bytes that are no letters."""
    return name.encode(errors="replace").decode()


class _Upload(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, sent: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._sent = sent

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size) or b""
        self._sent(len(piece))
        return piece


def _open(path: Path, sent: Callable[[int], None]) -> _Upload:
    try:
        return _Upload(path, sent)
    except OSError as error:
        raise FileUnusable(f"{path}: {error.strerror}") from error
