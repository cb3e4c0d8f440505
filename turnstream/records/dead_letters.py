"""What the dead letter topic cannot hold, and what was asked for again of what it holds."""

import hashlib
import re
from contextlib import suppress

from schemas.base import Value
from schemas.jobs import RunName
from turnstream.object_store.base import ObjectExists, ObjectNotFound
from turnstream.records.endings import run_key
from turnstream.records.objects import Objects

_KEY = re.compile("dead-letters/[0-9a-f]{64}")


def _letter_key(sha256: str) -> str:
    return f"dead-letters/{sha256}"


def _requeued_key(topic_id: str, offset: int) -> str:
    return f"dead-letters/requeued/{topic_id}/{offset}"


class Successor(Value):
    """The run that was asked for in place of a failed one."""

    run: RunName


class DeadLetters(Objects):
    def keep_dead_letter(self, data: bytes) -> str:
        """Keep the bytes of a record that is too large for the topic; returns their key. The same bytes are kept once."""
        key = _letter_key(hashlib.sha256(data).hexdigest())
        with suppress(ObjectExists):
            self.store.put(key, data, if_absent=True)
        return key

    def dead_letter(self, key: str) -> bytes | None:
        """None where nothing is kept under that key."""
        if not _KEY.fullmatch(key):  # a letter that somebody else wrote: it must not read what it likes
            return None
        try:
            return self.store.get(key)
        except ObjectNotFound:
            return None

    def name_successor(self, job_id: str, failed: str, run: str) -> str:
        """The run that takes the place of a failed one: `run`, unless another was named before. It is named once and for all."""
        try:
            self._put(run_key(job_id, failed, "successor"), Successor(run=run), if_absent=True)
        except ObjectExists:
            return self.successor(job_id, failed) or run  # which is erased just now
        return run

    def successor(self, job_id: str, failed: str) -> str | None:
        try:
            return self._get(run_key(job_id, failed, "successor"), Successor).run
        except ObjectNotFound:
            return None

    def note_requeued(self, topic_id: str, offset: int, where: str) -> None:
        """A dead letter that names no run was published again; `topic_id` is the incarnation of the dead letter topic."""
        self.store.put(_requeued_key(topic_id, offset), where.encode())

    def requeued(self, topic_id: str, offset: int) -> str | None:
        """Where it was published again, if it was."""
        try:
            return self.store.get(_requeued_key(topic_id, offset)).decode()
        except ObjectNotFound:
            return None
