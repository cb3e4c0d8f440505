"""Swaps of the real models leave no memory behind; `python -m tests.bench.swaps` has the long series."""

from pathlib import Path

import pytest

from tests.bench.swaps import growth, swaps


@pytest.mark.model
@pytest.mark.timeout(600)
async def test_swaps_leave_no_memory_behind(tmp_path: Path):
    series = await swaps(8, tmp_path)
    assert [swap.model for swap in series] == ["diarize", "transcribe"] * 4
    assert all(swap.load_seconds > 0 for swap in series)
    assert growth(series) < 1.1, [swap.resident >> 20 for swap in series]
