"""A multipart form, parsed as it comes; its recording is never held in memory."""

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from producer_api.auth import FORM_ALLOWANCE
from producer_api.spool import Spool
from producer_api.threads import Threads
from schemas.errors import AudioEmpty, InvalidRequest, UploadTimeout, UploadTooLarge
from schemas.jobs import AudioInfo
from turnstream.settings import KiB, Settings

AUDIO_FIELDS = ("audio", "file")
FIELD_LIMIT = 64 * KiB
"""Bytes of one value besides the recording. All of them together have FORM_ALLOWANCE."""


@dataclass(frozen=True)
class Upload:
    """A form that arrived whole. Whoever has it calls `discard` in the end."""

    path: Path
    audio: AudioInfo | None
    """What the form says of the recording that lies at `path`; None where it has none."""
    fields: dict[str, str]
    emptied: frozenset[str] = frozenset()
    """Fields that are there without a value."""

    def discard(self) -> None:
        """Remove the spool. Blocks: a large file takes a moment."""
        self.path.unlink(missing_ok=True)


async def read_form(request: Request, settings: Settings, threads: Threads, *, recording: bool = True) -> Upload:
    """Receive a form, one without a recording where `recording` is false; whatever goes wrong, nothing stays.

    Raises InvalidRequest, AudioEmpty, UploadTooLarge, UploadTimeout, StoreUnavailable (the spool cannot be
    written) and Starlette's ClientDisconnect.
    """
    boundary = _boundary(request)
    largest = settings.max_upload_bytes if recording else 0
    spool = Spool(settings.spool_dir, largest)
    try:
        form = _Form(boundary, spool, recording=recording)
        async with asyncio.timeout(settings.upload_timeout):
            await _receive(request, form, largest + FORM_ALLOWANCE, threads)
        spool.close()
        return form.upload()
    except BaseException as error:
        await threads.run(spool.discard)
        match error:
            case TimeoutError():
                raise UploadTimeout(f"The upload did not arrive within {settings.upload_timeout:g} s") from None
            case FormParserError():
                raise InvalidRequest(f"The form cannot be read: {error}") from None
            case _:
                raise


async def _receive(request: Request, form: "_Form", limit: int, threads: Threads) -> None:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise UploadTooLarge(f"The upload is larger than {limit} bytes", limit=limit)
        form.feed(chunk)
        await form.spool.drain(threads)
    await form.spool.drain(threads, least=1)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequest('Send the form as multipart/form-data, such as curl -F "name=value" does')
    return boundary


@dataclass
class _Part:
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    value: bytearray = field(default_factory=bytearray)

    @property
    def is_audio(self) -> bool:
        return self.name in AUDIO_FIELDS


class _Form:
    """What a push parser calls, and what it gathered."""

    def __init__(self, boundary: bytes, spool: Spool, *, recording: bool) -> None:
        self.spool = spool
        self._recording = recording
        self._room = FORM_ALLOWANCE
        self._fields: dict[str, str] = {}
        self._emptied: set[str] = set()
        self._seen: set[str] = set()
        self._audio: _Part | None = None
        self._part = _Part()
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def upload(self) -> Upload:
        if not self._complete:
            raise InvalidRequest("The form ends before its last boundary")
        return Upload(self.spool.path, self._info(), self._fields, frozenset(self._emptied))

    def _info(self) -> AudioInfo | None:
        audio = self._audio
        # A browser's form in which no file was chosen has the field, without a name and without bytes.
        if audio is None or not (self.spool.size or audio.filename):
            return None
        if not self.spool.size:
            raise AudioEmpty("The file has no bytes")
        return AudioInfo(
            filename=_plain_name(audio.filename),
            content_type=audio.headers.get(b"content-type", b"").decode("latin-1")[:100] or None,
            size=self.spool.size,
            sha256=self.spool.sha256,
        )

    def _begin(self) -> None:
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers[bytes(part.header_name).lower()] = bytes(part.header_value).strip()
        part.header_name.clear()
        part.header_value.clear()

    def _headers_finished(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        part.name = options.get(b"name", b"").decode(errors="replace")
        part.filename = options[b"filename"].decode(errors="replace") if b"filename" in options else None
        if part.is_audio:
            if not self._recording:
                raise InvalidRequest("Send no recording: a run works on that of its job")
            if self._audio is not None:
                raise InvalidRequest("Send one recording at a time: the form has two")
            self._audio = part
        elif part.name in self._seen:
            raise InvalidRequest(f"The form has the field {part.name[:100]} twice")
        self._seen.add(part.name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.is_audio:
            self.spool.append(data[start:end])
            return
        part.value += data[start:end]
        if len(part.value) > FIELD_LIMIT:
            raise InvalidRequest(f"The field {part.name[:100]} has more than {FIELD_LIMIT} bytes")

    def _end(self) -> None:
        part = self._part
        self._room -= len(part.name) + len(part.value)
        if self._room < 0:
            raise InvalidRequest(f"The fields besides the recording have more than {FORM_ALLOWANCE} bytes")
        value = part.value.decode(errors="replace").strip()
        if value and not part.is_audio:
            self._fields[part.name] = value
        elif not part.is_audio:
            self._emptied.add(part.name)

    def _finish(self) -> None:
        self._complete = True


def _plain_name(filename: str | None) -> str | None:
    """The last part of a path, without control characters: it is shown, and never used as a path."""
    name = re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", filename or "")[-1])
    return name[:255] or None
