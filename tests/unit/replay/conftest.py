"""A past to be replayed."""

from pathlib import Path

import pytest

from tests.support.past import Past


@pytest.fixture
async def past(tmp_path: Path) -> Past:
    return await Past(tmp_path, broker="kafka", kafka_bootstrap_servers="none:1").begin()
