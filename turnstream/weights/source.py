"""What weights are: a directory on this machine, and where it came from."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from turnstream.settings import Settings

COMMUNITY_1 = "pyannote/speaker-diarization-community-1"
"""The pipeline that the open pack holds, and the default on the hub."""


class Source(StrEnum):
    DIRECTORY = "directory"
    """A directory of the user's own."""
    HUB = "hub"
    """The Hugging Face hub, with the user's token."""
    OPEN_PACK = "open-pack"
    """The open weights, taken out of two packages of the Python package index."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A pipeline on disk. Loading it asks nothing of the network."""

    path: Path
    """Directory in the layout of community-1: `config.yaml` names its parts as `$model/<subdirectory>`."""
    name: str
    source: Source
    revision: str
    """Short hash over what is loaded: the same weights have the same one on every machine."""


def source_of(settings: Settings) -> Source:
    """Where `settings` say that weights come from. Looks at the disk, never at the network."""
    if Path(settings.diarization_model).expanduser().is_dir():
        return Source.DIRECTORY
    return Source.HUB if token_of(settings) else Source.OPEN_PACK


def token_of(settings: Settings) -> str:
    """HF_TOKEN, empty where there is none."""
    return settings.hf_token.get_secret_value().strip() if settings.hf_token else ""
