"""What weights are: a directory on this machine, and where it came from."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from turnstream.settings import Settings

AUTO = "auto"
"""TRANSCRIBE_MODEL, where the choice is ours."""
COMMUNITY_1 = "pyannote/speaker-diarization-community-1"
"""The pipeline that the open pack holds, and the default on the hub."""


class Source(StrEnum):
    DIRECTORY = "directory"
    """A directory of the user's own."""
    HUB = "hub"
    """The Hugging Face hub, with the user's token, or by a name that the user set."""
    OPEN_PACK = "open-pack"
    """The open weights, taken out of packages of the Python package index."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model on disk. Loading it asks nothing of the network."""

    path: Path
    """Directory in the layout of community-1, whose `config.yaml` names its parts as `$model/<subdirectory>`; for Whisper,
    in that of CTranslate2."""
    name: str
    source: Source
    revision: str
    """Short hash over what is loaded: the same weights have the same one on every machine."""


def source_of(settings: Settings) -> Source:
    """Where `settings` say that weights come from. Looks at the disk, never at the network."""
    if Path(settings.diarization_model).expanduser().is_dir():
        return Source.DIRECTORY
    return Source.HUB if token_of(settings) else Source.OPEN_PACK


def whisper_source_of(settings: Settings) -> Source:
    """The same for transcription. Whisper is public: a model that is named comes from the hub without a token, too."""
    if settings.transcribe_model != AUTO:
        return Source.DIRECTORY if Path(settings.transcribe_model).expanduser().is_dir() else Source.HUB
    return Source.HUB if token_of(settings) else Source.OPEN_PACK


def token_of(settings: Settings) -> str:
    """HF_TOKEN, empty where there is none."""
    return settings.hf_token.get_secret_value().strip() if settings.hf_token else ""
