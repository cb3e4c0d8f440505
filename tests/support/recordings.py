"""Recordings for tests, made with PyAV and numpy alone: real speech in every container, and every bad input.

The same arguments give the same bytes. Waveforms are float32 in -1..1, of shape (samples,) or (channels, samples).
"""

import struct
import wave
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from turnstream.sample import sample

SAMPLE_RATE = 16_000


# Real speech: 30 s, two speakers, with its reference


def sample_wav() -> Path:
    return sample("sample.wav")


def sample_rttm() -> Path:
    return sample("sample.rttm")


def sample_waveform(seconds: float | None = None) -> np.ndarray:
    """The first seconds of the sample (or all of it) at SAMPLE_RATE, read without FFmpeg."""
    with wave.open(str(sample_wav())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 1, 2)
        data = file.readframes(file.getnframes() if seconds is None else round(seconds * SAMPLE_RATE))
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def silence(seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    return np.zeros(round(seconds * rate), np.float32)


def sample_repeated(times: int, directory: Path) -> Path:
    """The sample several times over: a long recording of real speech."""
    return wav(np.tile(sample_waveform(), times), SAMPLE_RATE, directory / f"sample-x{times}.wav")


# Encoding


@dataclass(frozen=True)
class Kind:
    """How a recording is packed. `streamed`: written to a pipe, so that no header knows the duration."""

    suffix: str
    container: str
    codec: str
    rate: int | None = None
    video: bool = False
    streamed: bool = False
    exact: bool = False
    """A 16 bit source comes back bit for bit."""


KINDS = {
    "wav": Kind(".wav", "wav", "pcm_s16le", exact=True),
    "wav-24": Kind(".wav", "wav", "pcm_s24le", exact=True),
    "wav-float": Kind(".wav", "wav", "pcm_f32le", exact=True),
    "wav-streamed": Kind(".wav", "wav", "pcm_s16le", streamed=True, exact=True),
    "aiff": Kind(".aiff", "aiff", "pcm_s16be", exact=True),
    "mp3": Kind(".mp3", "mp3", "libmp3lame"),
    "m4a": Kind(".m4a", "ipod", "aac"),
    "alac": Kind(".m4a", "ipod", "alac", exact=True),
    "aac": Kind(".aac", "adts", "aac"),
    "flac": Kind(".flac", "flac", "flac", exact=True),
    "flac-streamed": Kind(".flac", "flac", "flac", streamed=True, exact=True),
    "ogg": Kind(".ogg", "ogg", "libopus", rate=48_000),
    "webm": Kind(".webm", "webm", "libopus", rate=48_000),
    "webm-streamed": Kind(".webm", "webm", "libopus", rate=48_000, streamed=True),
    "mp4": Kind(".mp4", "mp4", "aac"),
    "mp4-video": Kind(".mp4", "mp4", "aac", video=True),
    "mkv-video": Kind(".mkv", "matroska", "flac", video=True, exact=True),
}
"""Every kind of file that is taken, by a name for test ids."""


def sample_as(kind: str, directory: Path, seconds: float | None = None) -> Path:
    """The sample as one of KINDS."""
    return encode(sample_waveform(seconds), SAMPLE_RATE, kind, directory / f"sample-{kind}{KINDS[kind].suffix}")


def encode(waveform: np.ndarray, rate: int, kind: str | Kind, path: Path) -> Path:
    """Write a waveform as one of KINDS (or another kind), resampled where the codec wants that."""
    kind = KINDS[kind] if isinstance(kind, str) else kind
    channels = np.atleast_2d(waveform)
    with path.open("wb") as file, _muxer(file, kind) as container:
        video = _add_video(container) if kind.video else None
        stream = container.add_stream(kind.codec, rate=kind.rate or rate, layout=_layout(len(channels)))
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if video is not None:
            _write_video(container, video, channels.shape[1] / rate)
        resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=stream.rate)
        for start in range(0, channels.shape[1], rate):
            for frame in resampler.resample(_frame(channels[:, start : start + rate], rate, start)):
                container.mux(stream.encode(frame))
        for frame in resampler.resample(None):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class _Pipe:
    """A file that can only be written to, like a network connection."""

    def __init__(self, file) -> None:
        self.write = file.write


def _muxer(file, kind: Kind):
    options = {"fflags": "+bitexact"} | ({"live": "1"} if kind.streamed and kind.container == "webm" else {})
    return av.open(_Pipe(file) if kind.streamed else file, "w", format=kind.container, options=options)


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(channels, f"{channels} channels")


def _frame(channels: np.ndarray, rate: int, start: int):
    packed = np.ascontiguousarray(channels.T.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=_layout(len(channels)))
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame


def _add_video(container):
    stream = container.add_stream("mpeg4", rate=5)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    return stream


def _write_video(container, stream, seconds: float) -> None:
    for index in range(max(1, round(seconds * 5))):
        picture = np.full((48, 64, 3), index % 256, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))


# Odd recordings that decode


def wav(waveform: np.ndarray, rate: int, path: Path) -> Path:
    """A plain 16 bit WAV of any number of channels, written without FFmpeg."""
    channels = np.atleast_2d(waveform)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.rint(channels.T * 32768), -32768, 32767).astype("<i2").tobytes())
    return path


def blip(directory: Path) -> Path:
    """100 ms of sound."""
    return wav(tone(0.1), SAMPLE_RATE, directory / "blip.wav")


def quiet(directory: Path) -> Path:
    """Five seconds of silence."""
    return wav(silence(5), SAMPLE_RATE, directory / "quiet.wav")


def many_channels(directory: Path, channels: int = 30) -> Path:
    return wav(np.tile(sample_waveform(2), (channels, 1)), SAMPLE_RATE, directory / f"channels-{channels}.wav")


def at_rate(directory: Path, rate: int, seconds: float = 2) -> Path:
    return wav(tone(seconds, rate), rate, directory / f"rate-{rate}.wav")


def truncated_mp3(directory: Path) -> Path:
    """The first half of an mp3 file, cut in the middle of a frame."""
    data = sample_as("mp3", directory, seconds=10).read_bytes()
    path = directory / "truncated.mp3"
    path.write_bytes(data[: len(data) // 2 + 7])
    return path


def lying_wav(directory: Path) -> Path:
    """Two seconds of sound under a header that promises almost 4 GiB of it."""
    data = bytearray(wav(sample_waveform(2), SAMPLE_RATE, directory / "lying.wav").read_bytes())
    data[4:8] = struct.pack("<I", 0xFFFFFF00)
    data[40:44] = struct.pack("<I", 0xFFFFFF00 - 36)
    path = directory / "lying.wav"
    path.write_bytes(data)
    return path


def bomb(directory: Path, hours: float = 13, *, streamed: bool = False) -> Path:
    """Hours of silence in a file of less than a megabyte an hour. `streamed`: its container does not know how long it is."""
    packet_seconds = Fraction(60, 1000)
    kind = KINDS["webm-streamed" if streamed else "ogg"]
    path = directory / f"bomb-{hours:g}h{'-streamed' if streamed else ''}{kind.suffix}"
    with path.open("wb") as file, _muxer(file, kind) as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono", options={"frame_duration": "60"})
        first = stream.encode(_frame(silence(0.06, 48_000)[None], 48_000, 0)) + stream.encode(None)
        data = bytes(first[0])
        for index in range(round(hours * 3600 / packet_seconds)):  # one encoded packet, again and again
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 48_000)
            packet.pts = packet.dts = index * 2880
            packet.duration = 2880
            container.mux(packet)
    return path


# Files that are refused


def text_named_wav(directory: Path) -> Path:
    path = directory / "text.wav"
    path.write_text("This is not a recording. " * 200)
    return path


def empty_file(directory: Path) -> Path:
    path = directory / "empty.wav"
    path.touch()
    return path


def zero_length_audio(directory: Path) -> Path:
    """A correct WAV header over no samples."""
    return wav(silence(0), SAMPLE_RATE, directory / "zero.wav")


def video_without_sound(directory: Path) -> Path:
    path = directory / "mute.mp4"
    with path.open("wb") as file, av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        _write_video(container, _add_video(container), 2)
    return path


def picture(directory: Path) -> Path:
    path = directory / "picture.png"
    with path.open("wb") as file, av.open(file, "w", format="image2pipe") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame(64, 48, "rgb24")))
        container.mux(stream.encode(None))
    return path


# A secret lies beside each of these, and each of them asks for it.


def secret(directory: Path) -> Path:
    path = directory / "secret.wav"
    return path if path.exists() else wav(sample_waveform(2), SAMPLE_RATE, path)


def ffconcat(directory: Path) -> Path:
    path = directory / "list.ffconcat"
    path.write_text(f"ffconcat version 1.0\nfile '{secret(directory)}'\n")
    return path


def m3u8(directory: Path) -> Path:
    path = directory / "list.m3u8"
    path.write_text(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f"#EXTINF:2.0,\nfile://{secret(directory)}\n#EXT-X-ENDLIST\n"
    )
    return path


def sdp(directory: Path) -> Path:
    path = directory / "session.sdp"
    path.write_text(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=secret\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 5004 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
    return path


def mpd(directory: Path) -> Path:
    path = directory / "manifest.mpd"
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" '
        'type="static" mediaPresentationDuration="PT2S" minBufferTime="PT1S"><Period><AdaptationSet '
        'mimeType="audio/wav" contentType="audio"><Representation id="0" bandwidth="256000">'
        f"<BaseURL>{secret(directory)}</BaseURL></Representation></AdaptationSet></Period></MPD>\n"
    )
    return path


def mov_reference(directory: Path) -> Path:
    """A QuickTime file whose sound lies in another file, named by its data reference (`dref`)."""
    source = encode(sample_waveform(2), SAMPLE_RATE, Kind(".mov", "mov", "pcm_s16le"), directory / "whole.mov")
    data = source.read_bytes()
    name = str(secret(directory)).encode()
    # An alias record of type "path to the file"; the old entry is the last 12 bytes of `dref`.
    alias = (
        bytes(150 - 8 + 8) + struct.pack(">hh", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">hh", -1, 0)
    )
    return _with_dref(data, alias, directory / "reference.mov")


def _with_dref(data: bytes, alias: bytes, path: Path) -> Path:
    """Replace the self reference of a `moov` at the end of the file, and mend the sizes of the atoms around it."""
    at = data.rindex(b"dref")
    entry_at = at + 12
    old = struct.unpack_from(">I", data, entry_at)[0]
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    grown = bytearray(data[:entry_at] + entry + data[entry_at + old :])
    for atom in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        position = data[: at + 4].rindex(atom) - 4
        size = struct.unpack_from(">I", grown, position)[0]
        struct.pack_into(">I", grown, position, size + len(entry) - old)
    path.write_bytes(grown)
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "text named .wav": (text_named_wav, "audio_unreadable"),
    "empty file": (empty_file, "audio_empty"),
    "zero-length audio": (zero_length_audio, "audio_empty"),
    "video without sound": (video_without_sound, "audio_stream_missing"),
    "picture": (picture, "audio_format_refused"),
    "ffconcat": (ffconcat, "audio_format_refused"),
    "m3u8": (m3u8, "audio_format_refused"),
    "SDP": (sdp, "audio_format_refused"),
    "DASH": (mpd, "audio_format_refused"),
}
"""Every kind of file that is refused at the door: what makes it, and the code of the error."""
