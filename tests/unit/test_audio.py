"""Decoding: the same waveform out of every container, exact where the source is, and in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch
import torchaudio

from processor.audio import DAMAGED, SAMPLE_RATE, Waveform, decode, split
from schemas.errors import (
    AudioEmpty,
    AudioTooLong,
    AudioUnreadable,
    InvalidRequest,
    JobCancelled,
    StoreUnavailable,
    TurnstreamError,
)
from tests.support import limits, recordings
from tests.support.recordings import KINDS, REFUSED, Kind

MiB = 1 << 20


def decoded(path: Path, **changed: object) -> Waveform:
    arguments: dict = {"spool_dir": path.parent, "memory_budget": 64 * MiB, "max_seconds": 3600} | changed
    with path.open("rb") as file:
        return decode(file, **arguments)


def channels_of(path: Path, **changed: object) -> list[Waveform]:
    arguments: dict = {"spool_dir": path.parent, "memory_budget": 64 * MiB, "max_seconds": 3600} | changed
    with path.open("rb") as file:
        return split(file, **arguments)


# What comes out


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_waveform(kind: str, tmp_path: Path) -> None:
    wanted = recordings.sample_waveform(5)
    waveform = decoded(recordings.sample_as(kind, tmp_path, seconds=5))
    found = waveform.samples

    assert found.dtype == np.float32
    assert waveform.warnings == []
    assert (waveform.source_rate, waveform.source_channels) == (KINDS[kind].rate or SAMPLE_RATE, 1)
    if KINDS[kind].exact:
        np.testing.assert_array_equal(found, wanted)
        return
    # AAC comes in frames of 64 ms, and bare ADTS does not say that its first one is padding.
    lag = 1024 if kind == "aac" else 0
    assert waveform.duration == pytest.approx(5, abs=0.13)
    assert np.corrcoef(found[lag : lag + len(wanted)], wanted)[0, 1] > 0.99


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_every_sample_format_keeps_its_scale(codec: str, tmp_path: Path) -> None:
    wanted = np.array([0, 0.5, -0.5, 0.25, -1, 0.9921875], np.float32)  # exact in eight bits
    path = recordings.encode(wanted, SAMPLE_RATE, Kind(".wav", "wav", codec), tmp_path / "levels.wav")

    np.testing.assert_array_equal(decoded(path).samples, wanted)


def test_channels_are_averaged_before_resampling_as_pyannote_does_it(tmp_path: Path) -> None:
    rate = 44_100
    channels = np.stack([recordings.tone(2, rate, 440), recordings.tone(2, rate, 3000) / 2])
    path = recordings.encode(channels, rate, Kind(".wav", "wav", "pcm_f32le"), tmp_path / "stereo.wav")
    wanted = torchaudio.functional.resample(torch.from_numpy(channels).mean(0), rate, SAMPLE_RATE).numpy()
    waveform = decoded(path)

    assert (waveform.source_rate, waveform.source_channels, waveform.duration) == (rate, 2, 2.0)
    np.testing.assert_allclose(waveform.samples, wanted, rtol=0, atol=1e-6)


def test_eight_planar_channels_are_averaged(tmp_path: Path) -> None:
    speech = recordings.sample_waveform(3)
    path = recordings.encode(np.tile(speech, (8, 1)), SAMPLE_RATE, "ogg", tmp_path / "eight.ogg")
    waveform = decoded(path)

    assert waveform.source_channels == 8
    assert np.corrcoef(waveform.samples, speech)[0, 1] > 0.99


def test_a_source_may_change_its_rate_and_channels(tmp_path: Path) -> None:
    first = recordings.encode(recordings.tone(2), SAMPLE_RATE, "mp3", tmp_path / "first.mp3")
    stereo = np.tile(recordings.tone(3, 32_000), (2, 1))
    second = recordings.encode(stereo, 32_000, "mp3", tmp_path / "second.mp3")
    path = tmp_path / "both.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    samples = decoded(path).samples

    assert len(samples) / SAMPLE_RATE == pytest.approx(5, abs=0.2)
    for part in (samples[8000:24000], samples[48000:64000]):  # the pitch is the same in both
        assert pitch(part) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_056, 44_101, 48_000, 191_999, 192_000])
def test_every_rate_keeps_pitch_and_duration(rate: int, tmp_path: Path) -> None:
    waveform = decoded(recordings.at_rate(tmp_path, rate))

    assert waveform.duration == pytest.approx(2, abs=0.001)
    assert pitch(waveform.samples) == pytest.approx(440, abs=1)
    assert np.abs(waveform.samples).max() == pytest.approx(0.5, abs=0.02)


def pitch(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * SAMPLE_RATE / len(samples))


def test_a_hundred_milliseconds_silence_and_thirty_channels_decode(tmp_path: Path) -> None:
    assert decoded(recordings.blip(tmp_path)).duration == pytest.approx(0.1)
    assert not decoded(recordings.quiet(tmp_path)).samples.any()
    many = decoded(recordings.many_channels(tmp_path))
    assert many.source_channels == 30
    np.testing.assert_allclose(many.samples, recordings.sample_waveform(2), atol=1e-6)


# Channels apart


@pytest.mark.parametrize("kind", [Kind(".wav", "wav", "pcm_f32le"), Kind(".flac", "flac", "flac"), "ogg"], ids=str)
@pytest.mark.parametrize("budget", [0, 64 * MiB])
def test_each_channel_is_decoded_as_if_it_were_alone(kind: Kind | str, budget: int, tmp_path: Path) -> None:
    rate = 48_000
    channels = np.stack([recordings.tone(2, rate, 440), recordings.tone(2, rate, 3000) / 2])
    apart = channels_of(recordings.encode(channels, rate, kind, tmp_path / "stereo"), memory_budget=budget)

    assert [(each.source_rate, each.source_channels, each.duration) for each in apart] == [(rate, 2, 2.0)] * 2
    assert [pitch(each.samples[:]) for each in apart] == pytest.approx([440, 3000], abs=1)
    if isinstance(kind, Kind) and kind.codec == "pcm_f32le":
        for number, each in enumerate(apart):
            alone = decoded(recordings.encode(channels[number], rate, kind, tmp_path / "mono"))
            np.testing.assert_array_equal(each.samples[:], alone.samples)


def test_a_recording_of_one_channel_is_split_into_its_mix(tmp_path: Path) -> None:
    path = recordings.sample_as("wav", tmp_path)
    [alone] = channels_of(path)

    np.testing.assert_array_equal(alone.samples, decoded(path).samples)


def test_channels_that_come_and_go_are_silent_meanwhile(tmp_path: Path) -> None:
    stereo = np.tile(recordings.tone(2), (2, 1))
    first = recordings.encode(stereo, SAMPLE_RATE, "mp3", tmp_path / "first.mp3")
    second = recordings.encode(recordings.tone(2), SAMPLE_RATE, "mp3", tmp_path / "second.mp3")
    path = tmp_path / "both.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    left, right = channels_of(path)

    assert len(left.samples) == len(right.samples)
    assert np.abs(left.samples[48_000:60_000]).max() > 0.4
    assert not right.samples[48_000:60_000].any()
    assert left.warnings == right.warnings == [DAMAGED]


def test_channels_are_told_apart_up_to_eight(tmp_path: Path) -> None:
    speech = recordings.sample_waveform(1)
    loud = np.stack([speech * (number + 1) / 8 for number in range(8)])
    apart = channels_of(recordings.encode(loud, SAMPLE_RATE, Kind(".wav", "wav", "pcm_f32le"), tmp_path / "eight.wav"))
    np.testing.assert_array_equal(np.stack([each.samples for each in apart]), loud)

    with pytest.raises(InvalidRequest, match="30"):
        channels_of(recordings.many_channels(tmp_path))


def test_what_is_decoded_is_told_where_the_duration_is_known(tmp_path: Path) -> None:
    told: list[float] = []
    decoded(recordings.at_rate(tmp_path, 192_000, 10), tell=told.append)

    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == pytest.approx(1, abs=0.01)


# What is wrong with it


@pytest.mark.parametrize("name", REFUSED)
def test_the_worker_refuses_what_the_door_refuses(name: str, tmp_path: Path) -> None:
    make, code = REFUSED[name]
    with pytest.raises(TurnstreamError) as refused:
        decoded(make(tmp_path))

    assert refused.value.code == code


def test_a_truncated_mp3_gives_what_there_is_and_a_warning(tmp_path: Path) -> None:
    waveform = decoded(recordings.truncated_mp3(tmp_path))

    assert waveform.warnings == [DAMAGED]
    assert waveform.duration == pytest.approx(5, abs=0.3)
    wanted = recordings.sample_waveform(4)
    assert np.corrcoef(waveform.samples[: len(wanted)], wanted)[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["mp3", "m4a", "flac", "ogg"])
def test_a_hole_in_the_middle_costs_only_the_hole(kind: str, tmp_path: Path) -> None:
    path = recordings.sample_as(kind, tmp_path, seconds=6)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = bytes(range(250)) * 6
    path.write_bytes(data)
    waveform = decoded(path)

    assert waveform.warnings == [DAMAGED]
    assert waveform.duration > 4
    wanted = recordings.sample_waveform(2)
    assert np.corrcoef(waveform.samples[: len(wanted)], wanted)[0, 1] > 0.95


def test_a_lying_header_is_not_believed(tmp_path: Path) -> None:
    assert decoded(recordings.lying_wav(tmp_path), max_seconds=3).duration == 2


def test_samples_that_are_no_numbers_become_silence(tmp_path: Path) -> None:
    wave = recordings.tone(1)
    wave[[10, 20, 30]] = np.nan, np.inf, -np.inf
    path = recordings.encode(wave, SAMPLE_RATE, Kind(".wav", "wav", "pcm_f32le"), tmp_path / "nan.wav")
    waveform = decoded(path)

    assert waveform.warnings == [DAMAGED]
    assert waveform.samples[[10, 20, 30]].tolist() == [0, 0, 0]
    assert waveform.samples[40:].tolist() == wave[40:].tolist()


def test_packets_without_end_that_hold_no_sound_are_given_up(tmp_path: Path) -> None:
    path = tmp_path / "noise.mkv"
    with path.open("wb") as file, av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        container.mux(stream.encode(recordings._frame(recordings.tone(1)[None], SAMPLE_RATE, 0)))
        for index in range(1, 3000):
            packet = av.Packet(b"\xff" * 50)
            packet.stream, packet.time_base, packet.pts, packet.dts = (
                stream,
                stream.time_base,
                index * 4608,
                index * 4608,
            )
            container.mux(packet)

    with pytest.raises(AudioUnreadable, match="in a row"):
        decoded(path)


# Limits


@pytest.mark.parametrize("streamed", [False, True], ids=["duration known", "duration unknown"])
def test_a_bomb_is_defused_as_soon_as_the_limit_is_passed(streamed: bool, tmp_path: Path) -> None:
    path = recordings.bomb(tmp_path, hours=1, streamed=streamed)
    blocks = 0

    def count() -> bool:
        nonlocal blocks
        blocks += 1
        return False

    with pytest.raises(AudioTooLong):
        decoded(path, max_seconds=60, cancelled=count)
    assert blocks <= 60 * 48_000 / 2**18 + 1
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    assert decoded(recordings.quiet(tmp_path), max_seconds=5).duration == 5


def test_a_cancelled_job_stops_decoding(tmp_path: Path) -> None:
    with pytest.raises(JobCancelled):
        decoded(recordings.sample_as("wav", tmp_path), cancelled=lambda: True)


def test_beyond_the_budget_the_samples_lie_in_a_file_without_a_name(tmp_path: Path) -> None:
    path = recordings.sample_as("wav", tmp_path)
    spool = tmp_path / "spool"
    spool.mkdir()
    files = psutil.Process().num_fds()
    in_memory = decoded(path, spool_dir=spool)
    assert psutil.Process().num_fds() == files
    spooled = decoded(path, spool_dir=spool, memory_budget=MiB)

    assert len(spooled.samples) == len(in_memory.samples)
    np.testing.assert_array_equal(spooled.samples[:], in_memory.samples)
    np.testing.assert_array_equal(spooled.samples[:], recordings.sample_waveform())
    np.testing.assert_array_equal(spooled.samples[100_000:100_100], in_memory.samples[100_000:100_100])
    assert len(spooled.samples[len(in_memory.samples) - 7 : 1 << 40]) == 7
    assert torch.from_numpy(spooled.samples[:]).sum().isfinite()  # without a warning that it cannot be written to
    assert list(spool.iterdir()) == []
    assert psutil.Process().num_fds() == files + 1
    spooled.close()
    in_memory.close()
    assert psutil.Process().num_fds() == files


@pytest.mark.parametrize("budget", [0, 4, 30 * SAMPLE_RATE * 4 - 1, 30 * SAMPLE_RATE * 4])
def test_any_budget_gives_the_same_samples(budget: int, tmp_path: Path) -> None:
    waveform = decoded(recordings.sample_as("wav", tmp_path), memory_budget=budget)

    np.testing.assert_array_equal(waveform.samples[:], recordings.sample_waveform())


def test_a_spool_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="the directory is gone"):
        decoded(recordings.sample_as("wav", tmp_path), spool_dir=tmp_path / "gone", memory_budget=0)


def test_a_disk_that_is_full_before_the_recording_is_decoded_is_the_disks_failure(tmp_path: Path) -> None:
    path = recordings.sample_as("wav", tmp_path)
    with limits.file_size(MiB), pytest.raises(StoreUnavailable, match=f"{tmp_path}.*DATA_DIR"):
        decoded(path, memory_budget=0)
    assert len(decoded(path, memory_budget=0).samples) == len(recordings.sample_waveform())


def test_a_spool_that_was_cut_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    dup = os.dup
    monkeypatch.setattr(os, "dup", lambda descriptor: kept.append(dup(descriptor)) or kept[-1])
    waveform = decoded(recordings.sample_as("wav", tmp_path), memory_budget=0)
    os.ftruncate(kept[0], 1000)
    with pytest.raises(StoreUnavailable, match="somebody cut the file"):
        waveform.samples[0:1000]


def test_an_empty_recording_leaves_nothing_open(tmp_path: Path) -> None:
    files = psutil.Process().num_fds()
    with pytest.raises(AudioEmpty):
        decoded(recordings.zero_length_audio(tmp_path))

    assert psutil.Process().num_fds() == files


MEASURE = """
import resource, sys
from pathlib import Path
import torch
from processor.audio import decode
torch.set_num_threads(1)
warm, path = map(Path, sys.argv[1:])
decode(warm.open("rb"), path.parent, 8 << 20, 1e9)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
waveform = decode(path.open("rb"), path.parent, 8 << 20, 1e9)
for start in range(0, len(waveform.samples), 160_000):
    waveform.samples[start : start + 160_000].sum()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(4 * len(waveform.samples), (after - before) * unit)
"""


def test_memory_is_bounded_by_the_budget_not_by_the_length(tmp_path: Path) -> None:
    warm = recordings.at_rate(tmp_path, 48_000)
    path = recordings.bomb(tmp_path, hours=0.5)
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, warm, path], capture_output=True, text=True, check=True, timeout=100
    )
    size, grown = map(int, answer.stdout.split())

    assert size > 100 * MiB
    assert grown < 40 * MiB
