"""What a submission asks of the object store: in this order, for what is interrupted has to be found again, and no more."""

from pathlib import Path

from tests.support.counting import CountingStore


async def test_a_submission_writes_what_must_last_and_looks_once(start, blip: Path):
    store = CountingStore()
    async with start(store=store) as api:
        job_id = await api.new_job(blip)
        first, audio, record, index, moved, mark = store.calls(job_id)
    assert (first, audio, record) == ("put pending/ID/live", "put jobs/ID/audio", "put jobs/ID/job.json")
    assert index.startswith("put index/")
    assert moved == "get pending/ID/live"  # whether a worker was quicker: it has moved the event, or told the end
    assert mark == "put pending/ID/live"
