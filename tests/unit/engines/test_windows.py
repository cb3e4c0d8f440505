import numpy as np
import pytest

from processor.engines.diarize.windows import Windows, batch

SIZE, STEP = 10, 3


def stock(samples: np.ndarray) -> list[np.ndarray]:
    """How pyannote.audio 4 cuts: all complete windows, then one more, padded, for what they leave over."""
    complete = 0 if len(samples) < SIZE else (len(samples) - SIZE) // STEP + 1
    windows = [samples[i * STEP : i * STEP + SIZE] for i in range(complete)]
    if len(samples) < SIZE or (len(samples) - SIZE) % STEP:
        rest = samples[complete * STEP :]
        windows.append(np.pad(rest, (0, SIZE - len(rest))))
    return windows


@pytest.mark.parametrize("length", range(1, 40))
def test_windows_are_cut_as_stock_cuts_them(length: int):
    samples = np.arange(1, length + 1, dtype=np.float32)
    windows = Windows(samples, SIZE, STEP)
    assert len(windows) == len(stock(samples))
    padded = batch([windows[i] for i in range(len(windows))], len(windows), SIZE)
    np.testing.assert_array_equal(padded[:, 0], stock(samples))


def test_no_samples_no_windows():
    assert len(Windows(np.empty(0, np.float32), SIZE, STEP)) == 0


def test_a_window_is_a_view():
    samples = np.zeros(20, np.float32)
    assert np.shares_memory(Windows(samples, SIZE, STEP)[2], samples)


def test_there_is_no_window_beyond_the_last():
    with pytest.raises(IndexError):
        Windows(np.zeros(20, np.float32), SIZE, STEP)[5]


def test_a_batch_has_its_shape_whatever_is_in_it():
    short = batch([np.ones(4, np.float32)], 3, SIZE)
    assert short.shape == (3, 1, SIZE)
    assert short.sum() == 4
