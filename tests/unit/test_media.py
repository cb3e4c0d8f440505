"""What `turnstream.media` lets in, what it refuses, and that nothing but the upload is ever read."""

import ctypes
import os
import pickle
import re
import select
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.audio import decode
from schemas.errors import AudioError, AudioFormatRefused, AudioUnreadable
from tests.support import recordings
from tests.support.recordings import KINDS, REFUSED, SAMPLE_RATE, Kind
from turnstream.media import open_audio, probe, probe_path

UNTIMED = {"aac", "flac-streamed", "webm-streamed"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_says_what_is_inside(kind: str, tmp_path: Path) -> None:
    found = probe_path(str(recordings.sample_as(kind, tmp_path, seconds=3)))

    assert (found.sample_rate, found.channels) == (KINDS[kind].rate or SAMPLE_RATE, 1)
    assert found.duration == (None if kind in UNTIMED else pytest.approx(3, abs=0.02))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_recording_is_refused_with_its_code(name: str, tmp_path: Path) -> None:
    make, code = REFUSED[name]
    with pytest.raises(AudioError) as refused:
        probe_path(str(make(tmp_path)))

    assert refused.value.code == code
    assert copied(refused.value).info == refused.value.info


def test_a_probe_can_leave_its_process(tmp_path: Path) -> None:
    found = probe_path(str(recordings.blip(tmp_path)))

    assert copied(found) == found


def copied(value: Any) -> Any:
    """As it arrives in another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301


@pytest.mark.parametrize("name", ["list.m3u8", "playlist.ffconcat", "notes.txt", "%03d.png", "no-extension"])
def test_the_name_of_a_file_is_not_believed(name: str, tmp_path: Path) -> None:
    path = recordings.blip(tmp_path).rename(tmp_path / name)

    assert probe_path(str(path)).container == "wav"


def test_the_header_of_an_mp3_file_is_believed_and_a_guess_is_not(tmp_path: Path) -> None:
    data = recordings.sample_as("mp3", tmp_path, seconds=3).read_bytes()
    at = data.index(b"Info") if b"Info" in data else data.index(b"Xing")
    path = tmp_path / "guess.mp3"
    path.write_bytes(data[:at] + b"none" + data[at + 4 :])

    assert probe_path(str(path)).duration is None


def test_a_cover_picture_before_the_sound_hides_nothing(tmp_path: Path) -> None:
    sound = recordings.sample_as("mp3", tmp_path, seconds=3).read_bytes()
    cover = b"\0image/png\0\3\0" + recordings.picture(tmp_path).read_bytes()
    cover = b"APIC" + struct.pack(">I", len(cover)) + bytes(2) + cover
    size = bytes(len(cover) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path = tmp_path / "cover.mp3"
    path.write_bytes(b"ID3\3\0\0" + size + cover + sound)

    assert probe_path(str(path)).duration == pytest.approx(3, abs=0.02)


def test_a_probe_reads_no_more_than_it_needs(tmp_path: Path) -> None:
    class Counting:
        def __init__(self, path: Path) -> None:
            self.file, self.count = path.open("rb"), 0
            self.seek, self.tell, self.close = self.file.seek, self.file.tell, self.file.close

        def read(self, size: int) -> bytes:
            data = self.file.read(size)
            self.count += len(data)
            return data

    path = recordings.wav(recordings.silence(20, 192_000), 192_000, tmp_path / "long.wav")
    counting = Counting(path)
    probe(counting)  # type: ignore[arg-type]
    counting.close()

    assert 0 < counting.count < 1_500_000 < path.stat().st_size


@pytest.mark.parametrize(
    "header",
    [
        pytest.param((22, "<H", 65), id="65 channels"),
        pytest.param((24, "<I", 1), id="1 Hz"),
        pytest.param((24, "<I", 4_000_000_000), id="4 GHz"),
    ],
)
def test_a_header_out_of_reason_is_refused(header: tuple[int, str, int], tmp_path: Path) -> None:
    at, form, value = header
    path = recordings.blip(tmp_path)
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, value)
    path.write_bytes(data)

    with pytest.raises(AudioUnreadable):
        probe_path(str(path))


def test_a_codec_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    path = recordings.encode(recordings.tone(1), SAMPLE_RATE, Kind(".wav", "wav", "dfpwm"), tmp_path / "dfpwm.wav")

    with pytest.raises(AudioUnreadable, match="codec"):
        probe_path(str(path))


def test_the_picture_of_a_video_is_never_decoded(tmp_path: Path) -> None:
    with recordings.sample_as("mp4-video", tmp_path, seconds=2).open("rb") as file, open_audio(file) as recording:
        assert all(isinstance(frame, av.AudioFrame) for frame in recording.frames())
        assert recording.damaged == 0


# Files that refer to others


needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who opens a file, on Linux only")

BAIT: dict[str, tuple[Callable[[Path], Path], dict[str, str] | None]] = {
    "ffconcat": (recordings.ffconcat, {"safe": "0"}),
    "m3u8": (recordings.m3u8, {"allowed_extensions": "ALL", "extension_picky": "0"}),
    "QuickTime reference": (recordings.mov_reference, {"enable_drefs": "1", "use_absolute_path": "1"}),
    "DASH": (recordings.mpd, None),
    "SDP": (recordings.sdp, None),
}
"""What makes the file, and the options with which FFmpeg takes the bait (None: this build has no demuxer, or it would
listen on the network)."""


@contextmanager
def watched(path: Path) -> Iterator[Callable[[], bool]]:
    """Says whether anybody opened the file."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init()
    assert descriptor >= 0
    try:
        assert libc.inotify_add_watch(descriptor, os.fsencode(path), 0x20) >= 0  # IN_OPEN
        yield lambda: bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


@needs_inotify
@pytest.mark.parametrize("name", BAIT)
def test_a_file_that_another_refers_to_is_not_opened(name: str, tmp_path: Path) -> None:
    make, _ = BAIT[name]
    path = make(tmp_path)
    with watched(recordings.secret(tmp_path)) as opened:
        with pytest.raises(AudioError):
            probe_path(str(path))
        with path.open("rb") as file, pytest.raises(AudioError):
            decode(file, tmp_path, 1 << 20, 60)
        assert not opened()


@needs_inotify
@pytest.mark.parametrize("name", [name for name, (_, options) in BAIT.items() if options])
def test_the_bait_is_good(name: str, tmp_path: Path) -> None:
    make, options = BAIT[name]
    path = make(tmp_path)
    with watched(recordings.secret(tmp_path)) as opened, av.open(str(path), options=options) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 2 * SAMPLE_RATE
        assert opened()


@pytest.mark.parametrize("make", [recordings.ffconcat, recordings.sdp, recordings.picture])
def test_the_whitelist_alone_refuses(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnstream.media._PLAYLIST", re.compile(rb"(?!)"))

    with pytest.raises(AudioFormatRefused, match="none of the containers"):
        probe_path(str(make(tmp_path)))


# Broken bytes

FUZZED = ("wav", "mp3", "m4a", "flac", "ogg", "webm-streamed", "mkv-video")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("intact")
    return {kind: recordings.sample_as(kind, directory, seconds=1).read_bytes() for kind in FUZZED}


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from(FUZZED),
    kept=st.floats(0, 1) | st.just(1.0),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=40),
    headers_only=st.booleans(),
)
def test_whatever_the_bytes_are_the_error_has_a_code(
    kind: str,
    kept: float,
    flips: list[tuple[float, int]],
    headers_only: bool,
    intact: dict[str, bytes],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(intact[kind])
    del data[round(len(data) * kept) :]
    for where, mask in flips if data else []:
        data[int(where * min(len(data), 300 if headers_only else len(data)))] ^= mask
    path = tmp_path / "fuzzed"
    path.write_bytes(data)
    try:
        probe_path(str(path))
        with path.open("rb") as file:
            samples = decode(file, tmp_path, 1 << 20, 60).samples
        assert len(samples) and np.isfinite(samples).all()
    except AudioError as error:
        assert error.code.startswith("audio_")
    assert capfd.readouterr().err == ""  # FFmpeg keeps quiet
