"""A worker more than there are partitions: it waits, takes nothing, and works as soon as partitions come to it."""

from pathlib import Path

from tests.support.lone_worker import LoneWorker


async def test_a_worker_without_partitions_waits_for_some(tmp_path: Path):
    lone = await LoneWorker(tmp_path).start()
    lone.worker.revoked()
    lone.worker.assigned(set())
    id = lone.submit()  # sent to it by mistake, or still on its way from before
    await lone.quiet()
    assert lone.worker.trouble == "not ready"
    assert lone.engine.opened == []
    assert lone.acked == []

    lone.worker.assigned({0})
    lone.submit()
    await lone.until(lambda: lone.engine.opened)
    assert id not in lone.engine.opened
    assert lone.worker.trouble is None
    await lone.worker.close()
