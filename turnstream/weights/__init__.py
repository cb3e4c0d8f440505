"""Where models come from: a local directory, the hub, or the open pack.

    weights = resolve(settings)
    quiet(settings)
    pipeline = pyannote.audio.Pipeline.from_pretrained(weights.path)

`whisper` is the same for transcription: `whisper.resolve(settings)`. Importing this loads no library of models.
"""

from turnstream.weights.pins import OPEN_PACK_DOWNLOAD
from turnstream.weights.resolution import available, download_size, resolve
from turnstream.weights.source import COMMUNITY_1, Source, Weights, source_of
from turnstream.weights.telemetry import quiet

__all__ = [
    "COMMUNITY_1",
    "OPEN_PACK_DOWNLOAD",
    "Source",
    "Weights",
    "available",
    "download_size",
    "quiet",
    "resolve",
    "source_of",
]
