"""One layout for every pipeline: a directory whose `config.yaml` refers to nothing outside it.

community-1 comes like that. speaker-diarization-3.1 and its like name other repositories of the hub, or files anywhere,
and for these a directory of links is arranged, with a config rewritten to the same shape.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from schemas.errors import WeightsUnavailable
from turnstream.weights import cache
from turnstream.weights.cache import Say
from turnstream.weights.source import COMMUNITY_1

CONFIG = "config.yaml"
PIPELINE = "SpeakerDiarization"
NETWORK = ("pytorch_model.bin",)
PARTS = {"segmentation": NETWORK, "embedding": NETWORK, "plda": ("xvec_transform.npz", "plda.npz")}
"""What a diarization pipeline is made of, and the files of each part."""
LOADED = {".bin", ".npz", ".ckpt", ".safetensors"}
INSIDE = "$model/"


@dataclass(frozen=True, slots=True)
class Reference:
    """A part that lies in a repository of the hub."""

    repo: str
    revision: str | None = None
    folder: str = ""


Fetch = Callable[[Reference, str], Path]
"""The path of a reference's file of that name on this machine. Raises an error of the tree where it cannot be had."""
Files = dict[str, dict[str, Path] | None]
"""Part -> name -> path. None: the part is never used, yet pyannote wants to load one."""


def complete(config: Path, root: Path, fetch: Fetch, *, home: Reference | None, deadline: float, say: Say) -> Path:
    """A directory that holds the pipeline of `config` with all its parts: its own, where it is complete, else one of links.

    `home` is the repository that `config` was downloaded from, None where it is the user's own directory.
    """
    document = _read(config)
    pipeline = document["pipeline"]
    if not str(pipeline["name"]).endswith(PIPELINE):
        return config.parent
    params: dict[str, Any] = dict(pipeline.get("params") or {})
    files = {part: _files(part, params, home or config.parent, fetch) for part in PARTS}
    if all(_is_inside(params.get(part)) for part in PARTS):
        return config.parent
    inside = {part: f"{INSIDE}{part}" for part in PARTS}
    document = {**document, "pipeline": {**pipeline, "params": {**params, **inside}}}
    return _arrange(yaml.safe_dump(document, sort_keys=False), files, root / "arranged", deadline=deadline, say=say)


def fingerprint(directory: Path) -> str:
    """Short hash over what a pipeline loads."""
    digest = hashlib.sha256((directory / CONFIG).read_bytes())
    for path in sorted(path for path in directory.rglob("*") if path.suffix in LOADED):
        digest.update(f"\n{path.relative_to(directory)} {cache.sha256_of(path)}".encode())
    return digest.hexdigest()[:12]


def _read(config: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(config.read_bytes())
        if isinstance(document["pipeline"]["name"], str):
            return document
    except FileNotFoundError:
        raise WeightsUnavailable(f"{config.parent.name} holds no {CONFIG}, so it is not a pipeline") from None
    except (yaml.YAMLError, KeyError, TypeError):
        pass
    raise WeightsUnavailable(f"{CONFIG} of {config.parent.name} does not describe a pyannote pipeline")


def _is_inside(value: object) -> bool:
    return isinstance(value, str) and value.startswith(INSIDE) and "@" not in value


def _files(part: str, params: Mapping[str, Any], home: Path | Reference, fetch: Fetch) -> dict[str, Path] | None:
    """Where the files of a part lie. pyannote takes community-1's part where a config names none."""
    value = params.get(part)
    if value is None and part == "plda" and params.get("clustering", "VBxClustering") != "VBxClustering":
        return None
    where = Reference(COMMUNITY_1, folder=part) if value is None else _where(value, home)
    if isinstance(where, Reference):
        return {name: fetch(where, name) for name in PARTS[part]}
    if where.is_file() and PARTS[part] == NETWORK:
        return {NETWORK[0]: where}
    for name in PARTS[part]:
        if not (where / name).is_file():
            raise WeightsUnavailable(f"The pipeline's {part} is incomplete: there is no {name} in {where.name}")
    return {name: where / name for name in PARTS[part]}


def _where(value: Any, home: Path | Reference) -> Path | Reference:
    """What pyannote takes for a part: `$model/...`, a path, a repository, or a mapping with the arguments to load it."""
    folder, revision = "", None
    if isinstance(value, Mapping):
        folder, revision = str(value.get("subfolder") or ""), value.get("revision")
        value = value.get("checkpoint")
    text, _, pinned = str(value).partition("@")
    if text.startswith(INSIDE):
        inside = text.removeprefix(INSIDE)
        return home / inside if isinstance(home, Path) else replace(home, folder=inside)
    if isinstance(home, Path) and (local := home / Path(text).expanduser() / folder).exists():
        return local
    return Reference(text, revision or pinned or None, folder)


def _arrange(config: str, files: Files, folder: Path, *, deadline: float, say: Say) -> Path:
    links = {f"{part}/{name}": path.resolve() for part, found in files.items() for name, path in (found or {}).items()}
    key = hashlib.sha256(repr((config, sorted(links.items()))).encode()).hexdigest()[:12]
    target = folder / key
    folder.mkdir(parents=True, exist_ok=True)
    with cache.one_builder(folder, deadline=deadline, say=say):
        if target.exists():
            return target
        with cache.built(target) as directory:
            for part, found in files.items():
                (directory / part).mkdir()
                if found is None:
                    _inert_plda(directory / part)
            for name, path in links.items():
                (directory / name).symlink_to(path)
            (directory / CONFIG).write_text(config)
    return target


def _inert_plda(directory: Path) -> None:
    """pyannote.audio 4.0 loads a PLDA whatever the clustering, from the hub if need be: one that changes nothing."""
    np.savez(directory / "xvec_transform.npz", mean1=np.zeros(256), mean2=np.zeros(128), lda=np.eye(256, 128))
    np.savez(directory / "plda.npz", mu=np.zeros(128), tr=np.eye(128), psi=np.ones(128))
