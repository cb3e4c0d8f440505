"""Recordings as FFmpeg reads them, through PyAV: what is inside a file, and its decoded frames.

An upload is hostile until proven otherwise, so that FFmpeg gets as little as possible of it and of us:
- only self-contained containers and audio decoders from two short lists; pictures and video are never decoded;
- the bytes alone: no file name (extensions lie), no path, and a callback that refuses to open anything else.
Lists, playlists and manifests, which name other files, are no containers here. What remains is a crash inside FFmpeg:
call these functions where a process may die.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard

from schemas.errors import AudioEmpty, AudioFormatRefused, AudioStreamMissing, AudioUnreadable

CONTAINERS = "wav,w64,aiff,au,caf,mp3,aac,flac,ogg,matroska,mov,asf,amr,ac3,eac3,wv,avi,mpegts"
"""By FFmpeg's names: `mov` is also mp4, m4a and 3gp, `matroska` also WebM, `asf` is WMA, `wv` WavPack."""

DECODERS = (
    "mp3float,mp2float,mp1float,aac,aac_latm,flac,alac,opus,libopus,vorbis,speex,ac3,eac3,amrnb,amrwb,wavpack,"
    "wmav1,wmav2,wmapro,wmavoice,wmalossless,gsm,gsm_ms,g722,g726,g726le,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,"
    "adpcm_yamaha,pcm_alaw,pcm_mulaw,pcm_s8,pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,"
    "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_s16le_planar,pcm_s16be_planar"
)
MAX_CHANNELS = 64
SAMPLE_RATES = range(1_000, 768_001)
"""Hertz. A header may claim any rate, and each sample of a slow one becomes many."""

_OPTIONS = {
    "format_whitelist": CONTAINERS,
    "codec_whitelist": DECODERS,
    "protocol_whitelist": "none",
    # A QuickTime file may keep its sound in another file.
    "enable_drefs": "0",
    "use_absolute_path": "0",
    # Bytes and microseconds that are read to find out what is inside.
    "probesize": "1000000",
    "analyzeduration": "5000000",
    "max_streams": "64",
}
# They carry no duration, and what FFmpeg says is guessed from the bit rate at the start.
_UNTIMED = {"aac", "ac3", "eac3", "amr"}
# Packets in a row without one frame, after which a file counts as unreadable.
_HOPELESS = 1_000

_PLAYLIST = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:ffconcat version|#EXTM3U|v=0\r?\n|\[playlist\]"
    rb"|<(?:[^\0]*<)?(?:MPD|asx|smil|playlist|SmoothStreamingMedia)[\s>])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a recording says about itself. Only decoding all of it proves the duration."""

    duration: float | None
    """Seconds; None where the container does not know, which is legal."""
    sample_rate: int
    channels: int
    container: str
    codec: str


def probe_path(path: str) -> Probe:
    """`probe` of a file, as a helper process calls it."""
    with Path(path).open("rb") as file:
        return probe(file)


def probe(file: BinaryIO) -> Probe:
    """Look into a recording, up to its first decoded frame. Raises the AudioError that says what is wrong with it."""
    with open_audio(file) as recording:
        for frame in recording.frames():
            return Probe(
                recording.duration, frame.sample_rate, frame.layout.nb_channels, recording.container, recording.codec
            )
        raise recording.without_sound()


class Recording:
    """An open recording; see `open_audio`."""

    def __init__(self, container: InputContainer, stream: AudioStream, *, timed: bool) -> None:
        self._container = container
        self._stream = stream
        self._timed = timed
        self.damaged = 0
        """Packets that could not be decoded, so far."""

    @property
    def container(self) -> str:
        return self._container.format.name

    @property
    def codec(self) -> str:
        return self._stream.codec_context.name

    @property
    def promised(self) -> float | None:
        """Seconds that the header of the audio stream promises. A cut file has less."""
        stream = self._stream
        if not self._timed or not stream.duration or stream.duration < 0 or stream.time_base is None:
            return None
        return float(stream.duration * stream.time_base)

    @property
    def duration(self) -> float | None:
        """`promised`, or else the seconds that the whole container promises."""
        whole = self._container.duration
        return self.promised or (whole / av.time_base if self._timed and whole and whole > 0 else None)

    def frames(self) -> Iterator[AudioFrame]:
        """Decode, once. What cannot be decoded is skipped and counted in `damaged`.

        Channels, rate and sample format may change from frame to frame.
        """
        silent = 0
        for packet in self._packets():
            frames: list[AudioFrame] = []
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
            silent = 0 if frames else silent + 1
            if silent > _HOPELESS:
                raise AudioUnreadable(f"{self.codec} in {self.container}: {silent} packets in a row hold no sound")
            for frame in frames:
                if frame.samples:
                    _check(frame)
                    yield frame

    def without_sound(self) -> AudioEmpty | AudioUnreadable:
        """The error for a recording that gave no frame."""
        if self.damaged:
            return AudioUnreadable(f"Nothing in this {self.container} file of {self.codec} can be decoded")
        return AudioEmpty()

    def _packets(self) -> Iterator["Packet[AudioStream]"]:
        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError:  # the container is broken from here on; what came before stands
            self.damaged += 1


@contextmanager
def open_audio(file: BinaryIO) -> Generator[Recording]:
    """The best audio stream of a recording. `file` can be sought in, and stays open.

    Raises AudioEmpty, AudioFormatRefused, AudioUnreadable or AudioStreamMissing.
    """
    head = file.read(1024)
    if not head:
        raise AudioEmpty("The file is empty")
    if _PLAYLIST.match(head):
        raise AudioFormatRefused("Playlists and manifests, which only refer to recordings, are not taken")
    timed = _is_timed(file, head)
    file.seek(0)
    with _open_container(file) as container:
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream):
            raise AudioStreamMissing()
        _accept_codec(stream)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        timed = timed if container.format.name == "mp3" else container.format.name not in _UNTIMED
        yield Recording(container, stream, timed=timed)


@contextmanager
def _open_container(file: BinaryIO) -> Generator[InputContainer]:
    try:
        container = av.open(_Bytes(file), "r", options=_OPTIONS, metadata_errors="replace", io_open=_open_nothing)
    except av.error.ArgumentError:
        raise AudioFormatRefused(f"This is none of the containers that are taken: {CONTAINERS}") from None
    except (av.error.FFmpegError, ValueError) as error:
        raise AudioUnreadable(f"The file is no recording, or it is broken: {_reason(error)}") from error
    with container:
        yield container


class _Bytes:
    """A file without its name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> Any:
    raise AudioFormatRefused("The recording refers to another file")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _accept_codec(stream: AudioStream) -> None:
    with suppress(AttributeError):  # no codec context: FFmpeg has no decoder
        if stream.codec_context.name in DECODERS.split(","):
            stream.codec_context.thread_count = 1  # the cores belong to the networks
            return
    raise AudioUnreadable("The sound is in a codec that is not taken")


def _check(frame: AudioFrame) -> None:
    if frame.layout.nb_channels > MAX_CHANNELS:
        raise AudioUnreadable(f"{frame.layout.nb_channels} channels; at most {MAX_CHANNELS} are taken")
    if frame.sample_rate not in SAMPLE_RATES:
        raise AudioUnreadable(f"A sample rate of {frame.sample_rate} Hz is not taken")


def _is_timed(file: BinaryIO, head: bytes) -> bool:
    """Whether an mp3 file says how long it is: in a tag inside its first frame, after any ID3 tag."""
    start = 0
    if head.startswith(b"ID3") and len(head) >= 10:
        size = 0
        for byte in head[6:10]:  # four times seven bits
            size = size << 7 | byte & 0x7F
        start = 10 + size
    file.seek(start)
    frame = file.read(1024)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))
