"""The life of a job in the object store: the only package that knows its keys.

    jobs/<id>/job.json                                   what was accepted
    jobs/<id>/audio                                      the recording as it came
    jobs/<id>/analysis/<fingerprint>                     what networks said of it: further runs start from there
    jobs/<id>/runs/<run>/request.json                    what a run other than the first was asked for
    jobs/<id>/runs/<run>/{result,error,cancelled}.json   how a run ended; each is written once
    jobs/<id>/runs/<run>/attempts.json                   how often it was opened
    jobs/<id>/runs/<run>/stages/<name>.json              what a stage of a run found, until the run has its end
    pending/<id>/<run>                                   the mark of a run that has not ended
    index/<owner>/<inverted time>-<id>                   an owner's jobs, newest first
    leases/<name>                                        who does what only one process should do
    layout/<n>.json                                      how topics are laid out; the last one is in force

Every call blocks: on an event loop use it through a thread. Each may raise StoreUnavailable.
"""

from turnstream.records.jobs import Records
from turnstream.records.objects import Damaged
from turnstream.records.runs import CANCELLED, Ending, Mark, MarkState, RunRequest, reference

__all__ = ["CANCELLED", "Damaged", "Ending", "Mark", "MarkState", "Records", "RunRequest", "reference"]
