"""What the bench of long recordings makes of its runs."""

import pytest
import torch

from tests.bench.length import compared
from tests.bench.profile import _multiplied


def run(seconds: float, an_hour: float, memory: float) -> dict[str, float]:
    return {"seconds": seconds, "networks_s_an_hour": an_hour, "anonymous_growth_mib": memory}


def test_the_longest_is_set_against_the_shortest() -> None:
    found = compared([run(7200, 318.0, 250.0), run(600, 300.0, 50.0), run(3600, 999.0, 999.0)])
    assert (found["memory_mib"], found["seconds_an_hour"], found["within"]) == (200.0, 1.06, True)


@pytest.mark.parametrize(("an_hour", "memory"), [(331.0, 50.0), (300.0, 351.0)])
def test_too_much_time_or_memory_is_said(an_hour: float, memory: float) -> None:
    assert compared([run(600, 300.0, 50.0), run(7200, an_hour, memory)])["within"] is False


def test_multiplications_of_every_kind_of_layer_are_counted_once() -> None:
    convolution = torch.nn.Conv1d(2, 3, kernel_size=5)
    assert _multiplied(convolution, torch.zeros(1, 2, 104)) == 100 * 3 * 2 * 5
    recurrent = torch.nn.LSTM(4, 8, num_layers=2, bidirectional=True, batch_first=True)
    weights = 2 * (4 * 8 * (4 + 8) + 4 * 8 * (16 + 8))
    assert _multiplied(recurrent, torch.zeros(1, 50, 4)) == 50 * weights
