"""A line that somebody says: its samples, and when exactly there is voice in it."""

import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

Samples = npt.NDArray[np.float32]

RATE = 16_000
_HOP = RATE // 100
_BELOW_LOUD = 20.0
"""dB: what is so much below the loud parts of a clip is breath and echo, and no voice."""
_BEFORE, _AFTER = RATE // 20, RATE // 5
"""Samples of that which a clip keeps around its voice, so that no word sounds cut off."""
_PAUSE = 0.2
"""Seconds: shorter gaps belong to the speech around them."""
_SHORTEST = 0.08
_FADE = RATE // 200
_LEVEL = 0.06
"""Root mean square of the voice in each clip."""


@dataclass(frozen=True, slots=True)
class Clip:
    samples: Samples
    active: list[tuple[int, int]]
    """Where there is voice, in samples."""


def clip(samples: Samples) -> Clip | None:
    """Trimmed to its voice and brought to one level; None where there is no voice."""
    spans = voiced(samples)
    if not spans:
        return None
    first, last = max(0, spans[0][0] - _BEFORE), spans[-1][1] + _AFTER
    cut = samples[first:last].astype(np.float32)
    fade = np.linspace(0, 1, _FADE, dtype=np.float32)
    cut[:_FADE] *= fade
    cut[-_FADE:] *= fade[::-1]
    spans = [(start - first, end - first) for start, end in spans]
    power = np.concatenate([cut[start:end] for start, end in spans])
    return Clip(cut * np.float32(_LEVEL / np.sqrt(np.mean(power**2))), spans)


def voiced(samples: Samples) -> list[tuple[int, int]]:
    """Stretches of voice by their energy: starts and ends in samples."""
    count = len(samples) // _HOP
    power = np.mean(samples[: count * _HOP].reshape(count, _HOP).astype(np.float64) ** 2, axis=1)
    if not count or (loud := np.percentile(power, 95)) < 1e-7:
        return []
    above = np.flatnonzero(power > loud * 10 ** (-_BELOW_LOUD / 10))
    breaks = np.flatnonzero(np.diff(above) > _PAUSE * RATE / _HOP)
    starts, ends = above[np.r_[0, breaks + 1]], above[np.r_[breaks, len(above) - 1]] + 1
    return [
        (int(start) * _HOP, int(end) * _HOP)
        for start, end in zip(starts, ends, strict=True)
        if (end - start) * _HOP >= _SHORTEST * RATE
    ]


def read_wav(path: Path) -> tuple[Samples, int]:
    """Mono, 16 bit: (samples, rate)."""
    with wave.open(str(path)) as file:
        data, rate = file.readframes(file.getnframes()), file.getframerate()
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768, rate


def write_wav(path: Path, samples: npt.NDArray[np.int16], rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def read_any(path: Path) -> Samples:
    """What FFmpeg decodes, mono at RATE."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        blocks = [frame.to_ndarray().reshape(frame.layout.nb_channels, -1) for frame in container.decode(stream)]
        rate = stream.rate
    mono = np.concatenate(blocks, axis=1).mean(axis=0)
    divisor = int(np.gcd(rate, RATE))
    return resample_poly(mono, RATE // divisor, rate // divisor).astype(np.float32)
