"""What a microphone hears of a conversation: the mix, the room, noise and the telephone."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from tests.bench.corpus.clips import RATE, Clip, Samples
from tests.bench.corpus.conversation import Placed

_PEAK = 0.8
_BABBLING = 6
_TELEPHONE_RATE = 8000
_MU = 255.0


def mixed(placed: Sequence[Placed], seconds: float, echoes: Mapping[str, Samples]) -> Samples:
    """The sum of all lines, each with the echo of its voice's place, if there is one."""
    mix = np.zeros(round(seconds * RATE), np.float32)
    for line in placed:
        samples = line.clip.samples
        if line.voice in echoes:
            samples = fftconvolve(samples, echoes[line.voice]).astype(np.float32)
        at = round(line.at * RATE)
        part = samples[: max(0, len(mix) - at)]
        mix[at : at + len(part)] += part
    return mix


def echo(seconds: float, random: np.random.Generator) -> Samples:
    """An impulse response: the direct sound, and noise of half its energy that falls by 60 dB within `seconds`."""
    times = np.arange(round(seconds * RATE)) / RATE
    tail = random.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    tail[: RATE // 200] = 0
    tail *= np.sqrt(0.5 / np.sum(tail**2))
    tail[0] = 1.0
    return tail.astype(np.float32)


def white(mix: Samples, decibels: float, random: np.random.Generator) -> Samples:
    return mix + _below(mix, random.standard_normal(len(mix)).astype(np.float32), decibels)


def babble(mix: Samples, lines: Iterator[Clip], decibels: float) -> Samples:
    noise = np.zeros_like(mix)
    for _ in range(_BABBLING):
        at = 0
        while at < len(mix):
            samples = next(lines).samples[: len(mix) - at]
            noise[at : at + len(samples)] += samples
            at += len(samples)
    return mix + _below(mix, noise, decibels)


def _below(mix: Samples, noise: Samples, decibels: float) -> Samples:
    """`noise` so much weaker than the mix is where something is heard in it."""
    heard = mix[np.abs(mix) > 1e-4]
    wanted = np.sqrt(np.mean(heard**2)) * 10 ** (-decibels / 20)
    return noise * np.float32(wanted / np.sqrt(np.mean(noise**2)))


def telephone(mix: Samples) -> tuple[Samples, int]:
    """The band of a telephone, in the 8 bits of mu-law: (samples, rate)."""
    band = sosfilt(butter(4, (300, 3400), "bandpass", fs=RATE, output="sos"), mix)
    slow = resample_poly(band, _TELEPHONE_RATE, RATE)
    loud = slow * (_PEAK / np.abs(slow).max())
    pressed = np.sign(loud) * np.log1p(_MU * np.abs(loud)) / np.log1p(_MU)
    steps = np.rint(pressed * 127) / 127
    return (np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU).astype(np.float32), _TELEPHONE_RATE


def as_int16(mix: Samples) -> npt.NDArray[np.int16]:
    peak = float(np.abs(mix).max()) or 1.0
    return np.rint(mix * (_PEAK / peak * 32767)).astype(np.int16)
