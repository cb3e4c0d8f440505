"""The recording that pyannote.audio ships: 30 seconds, two speakers, with its reference."""

import importlib.util
from pathlib import Path

from schemas.errors import ExtraMissing


def sample(name: str) -> Path:
    """`sample.wav` or `sample.rttm`. Found without importing pyannote.audio's `sample`: that decodes the file, with FFmpeg.

    Raises ExtraMissing where pyannote.audio is not installed.
    """
    spec = importlib.util.find_spec("pyannote.audio")
    if spec is None or spec.origin is None:
        raise ExtraMissing("the sample recording wants the extra 'local': pip install 'turnstream[local]'")
    return Path(spec.origin).parent / "sample" / name
