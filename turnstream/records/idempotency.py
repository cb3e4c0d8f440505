"""What was promised under an Idempotency-Key, so that a submission which is sent again is not done again.

Each key has a log of numbered entries, the last of which counts. An entry is created if absent, so whoever adds number n + 1
knows that number n was the last word until then: compare and swap, of which the object store has no other. A submission claims
its key before it stores anything; the entry after its claim is the verdict: its job is safe, or was given up. Only one of the
two can come about, whoever races and whoever dies. https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import AwareDatetime

from schemas.base import Value
from schemas.jobs import JobId
from turnstream.object_store.base import ObjectNotFound
from turnstream.records.objects import Damaged, Objects

ROOT = "idempotency/"


class Word(StrEnum):
    CLAIMED = "claimed"
    """A submission is on its way, or died on it: who sends it again goes on with the same job."""
    ACCEPTED = "accepted"
    """The job is safe: it is the answer to all who send this again."""
    RELEASED = "released"
    """The job was given up, or erased, and the key is free. What may be left of the job it names is to be erased first."""


class Promise(Value):
    """An entry of a key's log."""

    word: Word
    at: AwareDatetime
    job_id: JobId | None = None
    fingerprint: str | None = None
    """Of the whole submission: another one may not come under the key unless it is free."""


def key_name(owner: str, key: str) -> str:
    """The name of the log of an owner's key, which itself is kept nowhere."""
    return f"{owner}/{hashlib.sha256(key.encode()).hexdigest()}"


class Idempotency(Objects):
    """An entry is known as `<name of the log>/<number>`; a claim is an entry, and is known to whom it belongs by its job."""

    def promised(self, name: str) -> tuple[str, Promise | None]:
        """The last entry of a log; None, as number 0, where there is none yet."""
        while True:
            *_, last = ("", *(info.key for info in self.store.list(f"{ROOT}{name}/")))
            if not last:
                return f"{name}/{0:06d}", None
            with suppress(ObjectNotFound):  # forgotten since it was listed
                return last.removeprefix(ROOT), self._get(last, Promise)

    def claim_key(self, last: str, job_id: str, fingerprint: str) -> str | None:
        """Claim a key that is free, whose last entry is `last`, for a job. None where somebody was quicker."""
        claim = _following(last)
        said = self._say(claim, _promise(Word.CLAIMED, job_id, fingerprint))
        return claim if said is not None and said.job_id == job_id else None

    def keep_promise(self, claim: str, job_id: str) -> bool:
        """The job is safe. False where it was given up meanwhile."""
        claimed = self._claimed(claim, job_id)
        if claimed is None:
            return False
        said = self._say(_following(claim), _promise(Word.ACCEPTED, job_id, claimed.fingerprint))
        return said is not None and said.word is Word.ACCEPTED

    def give_up_claim(self, claim: str, job_id: str) -> bool:
        """To be asked before a job is erased whose submission failed. False where it is safe, and has to stay."""
        if self._claimed(claim, job_id) is None:
            return True
        said = self._say(_following(claim), _promise(Word.RELEASED, job_id))
        return said is None or said.word is not Word.ACCEPTED

    def forget_claim(self, claim: str, job_id: str) -> None:
        """The job is being erased: its key is free, and nothing speaks of the job any more.

        Entries are blanked and not removed: somebody may be about to write the one after what was last a moment ago.
        """
        if self._claimed(claim, job_id) is None:
            return
        verdict = _following(claim)
        said = self._say(verdict, _promise(Word.RELEASED))
        if said is not None and said.word is Word.ACCEPTED:
            self._say(_following(verdict), _promise(Word.RELEASED))
            self._put(ROOT + verdict, _promise(Word.RELEASED))
        self._put(ROOT + claim, _promise(Word.RELEASED))

    def old_promises(self, before: datetime) -> Iterator[str]:
        """Entries that were made before then, those of one log in their order."""
        for info in self.store.list(ROOT):
            if info.modified < before:
                yield info.key.removeprefix(ROOT)

    def given_up_by(self, entry: str) -> str | None:
        """The id of the job that was given up with this entry, if one was."""
        try:
            said = self._said(entry)
        except Damaged:
            return None
        return said.job_id if said is not None and said.word is Word.RELEASED else None

    def forget_promise(self, entry: str) -> None:
        """An old one: nobody is about to write the next."""
        self.store.delete(ROOT + entry)

    def _claimed(self, claim: str, job_id: str) -> Promise | None:
        """None where the claim is forgotten, maybe for long, so that the entry is another's."""
        claimed = self._said(claim)
        return claimed if claimed is not None and claimed.job_id == job_id else None

    def _say(self, entry: str, promise: Promise) -> Promise | None:
        """What the entry says, which is this promise unless somebody was quicker; None where it is removed just now."""
        return promise if self._put_once(ROOT + entry, promise) else self._said(entry)

    def _said(self, entry: str) -> Promise | None:
        try:
            return self._get(ROOT + entry, Promise)
        except ObjectNotFound:
            return None


def _promise(word: Word, job_id: str | None = None, fingerprint: str | None = None) -> Promise:
    return Promise(word=word, at=datetime.now(UTC), job_id=job_id, fingerprint=fingerprint)


def _following(entry: str) -> str:
    name, _, number = entry.rpartition("/")
    return f"{name}/{int(number) + 1:06d}"
