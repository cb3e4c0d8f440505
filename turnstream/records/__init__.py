"""The life of a job in the object store: the only package that knows its keys.

    jobs/<id>/job.json                                   what was accepted
    jobs/<id>/audio                                      the recording as it came
    jobs/<id>/analysis/<fingerprint>                     what networks said of it: further runs start from there
    jobs/<id>/runs/<run>/request.json                    what a run other than the first was asked for
    jobs/<id>/runs/<run>/ended.json                      the claim: which of the next three is its end; created once
    jobs/<id>/runs/<run>/{result,error,cancelled}.json   how a run ended
    jobs/<id>/runs/<run>/witnesses/<record>.json         a record that shows, once settled, that the end was told
    jobs/<id>/runs/<run>/attempts.json                   how often it was opened, and who has it open
    jobs/<id>/runs/<run>/stages/<name>.json              what a stage of a run found, until the run has its end
    jobs/<id>/runs/<run>/successor.json                  which run was asked for in place of this one, which failed
    jobs/<id>/runs/<run>/webhook.json                    how often its end was told to its webhook, and what came of it
    webhooks/<due>/<id>/<run>                            a run whose webhook is to be looked at then: milliseconds since 1970
    pending/<id>/<run>                                   the mark of a run that has not ended
    pending/<id>/~erase                                  the mark of an erasure under way
    index/<owner>/<inverted time>-<id>                   an owner's jobs, newest first
    idempotency/<owner>/<sha256 of key>/<number>         what was promised under an Idempotency-Key: the last number counts
    dead-letters/<sha256>                                a value too large for the dead letter topic
    dead-letters/requeued/<topic id>/<offset>            where a dead letter that names no run was published again
    replays/<name>/request.json                          what a replay was asked for
    replays/<name>/cancelled.json                        it was cancelled
    replay-groups/<group>.json                           what a group of workers apart from the live one computes
    leases/<name>                                        who does what only one process should do
    layout/<n>.json                                      how topics are laid out; the last one is in force

Every call blocks: on an event loop use it through a thread. Each may raise StoreUnavailable.
"""

from turnstream.records.endings import CANCELLED, Ending, Witness, Witnesses, reference
from turnstream.records.history import Glimpse
from turnstream.records.idempotency import Promise, Word, key_name
from turnstream.records.jobs import Records
from turnstream.records.marks import ERASURE, Mark, MarkState
from turnstream.records.objects import Damaged
from turnstream.records.replays import ReplayGroup, ReplayRequest, Source
from turnstream.records.runs import Attempts, RunRequest
from turnstream.records.webhooks import QueuedWebhook, Webhook

__all__ = [
    "CANCELLED",
    "ERASURE",
    "Attempts",
    "Damaged",
    "Ending",
    "Glimpse",
    "Mark",
    "MarkState",
    "Promise",
    "QueuedWebhook",
    "Records",
    "ReplayGroup",
    "ReplayRequest",
    "RunRequest",
    "Source",
    "Webhook",
    "Witness",
    "Witnesses",
    "Word",
    "key_name",
    "reference",
]
