"""What a job asks of the object store on its way through a worker: each call costs a millisecond or two behind a network."""

from pathlib import Path

from tests.support.counting import CountingStore
from tests.support.lone_worker import LoneWorker
from tests.support.worker import accept, job_event, new_job


async def test_a_job_is_looked_at_once_counted_once_and_ended_with_five_calls(tmp_path: Path):
    store = CountingStore()
    lone = await LoneWorker(tmp_path, store=store).start()
    job = accept(lone.records, new_job())
    before = len(store.calls(job.id))
    lone.receive(job_event(job))
    await lone.until(lambda: lone.engine.open_ids)
    opening = store.calls(job.id)[before:]
    lone.engine.finish((job.id, "live"))
    await lone.until(lambda: lone.acked)
    ending = store.calls(job.id)[before + len(opening) :]
    await lone.worker.close()
    assert opening == ["stat jobs/ID/job.json", "list jobs/ID/runs/live/", "put jobs/ID/runs/live/attempts.json"]
    assert ending == [
        "get jobs/ID/runs/live/ended.json",
        "put jobs/ID/runs/live/result.json",
        "put jobs/ID/runs/live/ended.json",
        "stat jobs/ID/job.json",
        "delete pending/ID/live",
    ]
