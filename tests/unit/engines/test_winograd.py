"""Winograd's convolutions are convolutions, image by image."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from processor.engines.diarize.winograd import LEAST, Winograd


def convolution(inputs: int = LEAST, outputs: int = LEAST, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, **({"kernel_size": 3, "padding": 1} | options))


@pytest.fixture(autouse=True)
def inference():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@settings(deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 22),
    width=st.integers(1, 22),
    outputs=st.sampled_from([128, 160]),
    summed=st.booleans(),
)
def test_the_numbers_are_those_of_a_plain_convolution(batch: int, height: int, width: int, outputs: int, summed: bool):
    plain = convolution(outputs=outputs)
    image, around = torch.randn(batch, LEAST, height, width), torch.randn(batch, outputs, height, width)
    exact = F.conv2d(image.double(), plain.weight.double(), plain.bias.double(), padding=1)
    exact = (exact + around.double() if summed else exact).relu()
    found = Winograd(plain)(image, around if summed else None)
    assert (found - exact).norm() <= 1e-5 * exact.norm()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_image_has_its_numbers_whoever_is_beside_it(layout: torch.memory_format):
    images = torch.randn(4, LEAST, 20, 125).contiguous(memory_format=layout)
    winograd = Winograd(convolution())
    together = winograd(images)
    for number in range(4):
        assert torch.equal(winograd(images[number : number + 1])[0], together[number])


def test_one_after_the_other():
    """What one gives, with its gaps in memory, another one takes."""
    first, second = convolution(), convolution()
    image = torch.randn(1, LEAST, 10, 125)
    expected = (second(first(image).relu()) + image).relu()
    torch.testing.assert_close(Winograd(second)(Winograd(first)(image), image), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [{"kernel_size": 1, "padding": 0}, {"stride": 2}, {"dilation": 2, "padding": 2}, {"groups": 2}, {"inputs": 32}],
)
def test_other_convolutions_are_not_for_it(other: dict[str, int]):
    assert Winograd.fits(convolution())
    assert not Winograd.fits(convolution(**other))
