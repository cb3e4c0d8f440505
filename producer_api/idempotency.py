"""Idempotency-Key: the same submission, sent again, is answered as it was and done once.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from weakref import WeakValueDictionary

from fastapi import Depends, Header
from starlette.requests import Request

from producer_api.form import Upload
from producer_api.threads import Threads
from schemas.errors import InvalidRequest, JobNotFound, KeyInUse, KeyReused
from schemas.jobs import Job
from turnstream.records import Promise, Records, Word, key_name

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
"""Header of an answer to what was submitted before."""
_SHOWN = r"[!-~]([ -~]{0,253}[!-~])?"
_KEY = re.compile(_SHOWN)
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"[ \t]*(?:;.*)?')


def read_key(lines: list[str]) -> str | None:
    """The key of a call, from the header's lines. The draft wants it in quotes, which most callers leave out.

    Raises InvalidRequest.
    """
    if not lines:
        return None
    text = lines[0].strip()
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    if len(lines) > 1 or not _KEY.fullmatch(text):
        raise InvalidRequest(f"{HEADER} is one value of 1 to 255 printable ASCII characters, such as a UUID")
    return text


async def _key(
    request: Request,
    shown: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="of the caller's making, a new one for each submission, such as a UUID: the same call, sent again with "
            "the same key, is answered with the same job and submits nothing",
            json_schema_extra={"pattern": f"^{_SHOWN}$"},
        ),
    ] = None,
) -> str | None:
    del shown  # of a header in several lines it has one; it is here for the API's description
    return read_key(request.headers.getlist(HEADER))


IdempotencyKey = Annotated[str | None, Depends(_key)]


@dataclass(frozen=True, slots=True)
class Use:
    """A key as one call uses it."""

    name: str
    """Of its log in the records."""
    fingerprint: str


def use_of(key: str, owner: str, call: str, upload: Upload) -> Use:
    """`call` is the address that was called. The recording counts by its bytes, whatever the file is called."""
    said = [call, sorted(upload.fields.items()), upload.audio.sha256 if upload.audio else None]
    return Use(key_name(owner, key), hashlib.sha256(json.dumps(said).encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to submit a job under a key."""

    entry: str
    job_id: str


class Turn:
    """The turn of one call with a key: no other call that came to this process has the key meanwhile.

    Calls that came to other processes may: a job may be stored and published twice under its one id, which does no harm.
    """

    def __init__(self, use: Use, records: Records, threads: Threads) -> None:
        self._use = use
        self._records = records
        self._threads = threads
        self._last = ""
        self._promise: Promise | None = None

    async def answer(self) -> Job | None:
        """The job that was promised to an earlier call, if one was. Raises KeyReused where that was another submission."""
        self._last, promise = await self._threads.run(self._records.promised, self._use.name)
        self._promise = promise
        if promise is None or promise.word is Word.RELEASED:
            return None
        if promise.fingerprint != self._use.fingerprint:
            raise KeyReused(f"This {HEADER} was used for another submission: make a new one for each")
        if promise.word is not Word.ACCEPTED or promise.job_id is None:
            return None
        try:
            return await self._threads.run(self._records.job, promise.job_id)
        except JobNotFound:  # erased without a word to the key, which is free
            self._promise = None
            return None

    async def claim(self, job_id: str) -> Claim | Job:
        """After `answer`, and before anything is stored. The claim is for `job_id`, or for the job of an earlier call that broke
        off: then this one does what is left to do. The job itself, where another process was quicker. Raises KeyReused.
        """
        while True:
            promise = self._promise
            if promise is not None and promise.job_id is not None:
                if promise.word is Word.CLAIMED:
                    return Claim(self._last, promise.job_id)
                await self._threads.run(self._records.erase, promise.job_id)  # who gave it up may have died on this
            entry = await self._threads.run(self._records.claim_key, self._last, job_id, self._use.fingerprint)
            if entry is not None:
                return Claim(entry, job_id)
            if (job := await self.answer()) is not None:
                return job


class Keys:
    def __init__(self, records: Records, threads: Threads, patience: float) -> None:
        """`patience`: seconds one call waits for the end of another with the same key."""
        self._records = records
        self._threads = threads
        self._patience = patience
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, use: Use) -> AsyncGenerator[Turn]:
        """Raises KeyInUse where an earlier call does not come to its end."""
        lock = self._busy.setdefault(use.name, asyncio.Lock())
        try:
            async with asyncio.timeout(self._patience):
                await lock.acquire()
        except TimeoutError:
            raise KeyInUse from None
        try:
            yield Turn(use, self._records, self._threads)
        finally:
            lock.release()
