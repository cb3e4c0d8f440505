from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from processor import persistence
from tests.support.lone_worker import LoneWorker


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(persistence, "LONGEST_DELAY", 0.01)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LoneWorker]:
    made = await LoneWorker(tmp_path, diarization_max_batch_size=2, max_attempts=2, queue_limit=256).start()
    yield made
    await made.worker.close()
    assert not made.worker.broken.is_set()
