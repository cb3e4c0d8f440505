"""Which weights the settings ask for, and how to get them."""

import logging
import time
from pathlib import Path

from schemas.errors import WeightsUnavailable
from turnstream.settings import Settings
from turnstream.weights import open_pack, pins
from turnstream.weights.cache import Say, cache_dir, keeping
from turnstream.weights.source import COMMUNITY_1, Source, Weights, source_of, token_of
from turnstream.weights.telemetry import quiet

log = logging.getLogger(__name__)


def resolve(settings: Settings, *, progress: Say | None = None) -> Weights:
    """The weights that `settings` ask for, downloaded and put together where need be.

    Blocks for as long as `engine_load_limit` at most. `progress` takes a line for people now and then; without it the
    lines go to the log. Raises WeightsUnavailable, WeightsTokenRefused, WeightsTermsNotAccepted or WeightsCorrupt, each
    with what to do about it.
    """
    say = progress or log.info
    deadline = time.monotonic() + settings.engine_load_limit
    with keeping(settings):
        if source_of(settings) is Source.OPEN_PACK:
            return _open_pack(settings, deadline=deadline, say=say)
        return _pipeline(settings, deadline=deadline, say=say)


def available(settings: Settings) -> Weights | None:
    """The weights if they are on this machine; None where `resolve` would have to download something first.

    Raises WeightsUnavailable where no download would help.
    """
    source = source_of(settings)
    if source is Source.OPEN_PACK:
        _wants_community_1(settings)
        pack = open_pack.find(cache_dir(settings))
        return _pack(pack) if pack else None
    try:
        deadline = time.monotonic() + settings.engine_load_limit
        return _pipeline(settings, deadline=deadline, say=log.info, online=False)
    except WeightsUnavailable:
        if source is Source.DIRECTORY:
            raise
        return None


def download_size(settings: Settings) -> int | None:
    """Bytes that `resolve` would download; None where only the hub knows."""
    if source_of(settings) is Source.OPEN_PACK:
        return open_pack.to_download(cache_dir(settings))
    return 0 if available(settings) else None


def _open_pack(settings: Settings, *, deadline: float, say: Say) -> Weights:
    _wants_community_1(settings)
    quiet(settings)
    root = cache_dir(settings)
    return _pack(open_pack.find(root) or open_pack.build(root, deadline=deadline, say=say))


def _pack(path: Path) -> Weights:
    return Weights(path, COMMUNITY_1, Source.OPEN_PACK, pins.REVISION)


def _wants_community_1(settings: Settings) -> None:
    if settings.diarization_model != COMMUNITY_1:
        raise WeightsUnavailable(
            f"{settings.diarization_model} is no directory here, and a model of the hub wants HF_TOKEN. Set HF_TOKEN, "
            f"or leave DIARIZATION_MODEL unset: the open weights are {COMMUNITY_1}."
        )


def _pipeline(settings: Settings, *, deadline: float, say: Say, online: bool = True) -> Weights:
    """A pipeline of the user's own, from a directory or the hub. Its parts may lie elsewhere."""
    from turnstream.weights import layout
    from turnstream.weights.hub import Hub
    from turnstream.weights.layout import Reference

    quiet(settings)
    source, name = source_of(settings), settings.diarization_model
    root = cache_dir(settings)
    token = token_of(settings)

    def fetch(reference: Reference, file: str) -> Path:
        if not token:
            raise WeightsUnavailable(
                f"{Path(name).name} refers to {reference.repo}, which is no path here, and a model of the hub wants "
                "HF_TOKEN. Set it, or put the files beside config.yaml."
            )
        hub = Hub(token, root / "hub" if settings.cache_dir else None, deadline=deadline, say=say, online=online)
        return hub.file(reference, file)

    if source is Source.DIRECTORY:
        config, home = Path(name).expanduser().resolve() / layout.CONFIG, None
        name = config.parent.name
    else:
        repo, _, revision = name.partition("@")
        config = fetch(Reference(repo, revision or None), layout.CONFIG)
        home = Reference(repo, revision=config.parent.name)  # the cache calls a snapshot's directory by its commit
    path = layout.complete(config, root, fetch, home=home, deadline=deadline, say=say)
    return Weights(path, name, source, layout.fingerprint(path))
