"""Tensors and nodes of a network in ONNX Runtime's own format, read without that runtime.

The format is a flatbuffer; the slots below are those of `ort.fbs` in onnxruntime, the numbers of element types those of
ONNX's `TensorProto.DataType`. Only what the open pack needs is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table
from numpy.typing import NDArray

Array = NDArray[Any]

IDENTIFIER = b"ORTM"
_SESSION_MODEL, _MODEL_GRAPH = 6, 18
_GRAPH_TENSORS, _GRAPH_NODES = 4, 8
_TENSOR_NAME, _TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BYTES = 4, 8, 10, 12
_NODE_OPERATOR, _NODE_INPUTS, _NODE_OUTPUTS = 14, 20, 22
_ELEMENTS = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}


@dataclass(frozen=True, slots=True)
class Node:
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    tensors: dict[str, Array]
    nodes: tuple[Node, ...]


def read(blob: bytes) -> Graph:
    if blob[4:8] != IDENTIFIER:
        raise ValueError("not a network in ONNX Runtime's format")
    root = encode.Get(packer.uoffset, blob, 0)
    graph = _child(_child(Table(blob, root), _SESSION_MODEL), _MODEL_GRAPH)
    tensors = {_text(tensor, _TENSOR_NAME): _array(tensor) for tensor in _children(graph, _GRAPH_TENSORS)}
    nodes = (
        Node(_text(node, _NODE_OPERATOR), tuple(_texts(node, _NODE_INPUTS)), tuple(_texts(node, _NODE_OUTPUTS)))
        for node in _children(graph, _GRAPH_NODES)
    )
    return Graph(tensors, tuple(nodes))


def _array(tensor: Table) -> Array:
    shape = [int(n) for n in _vector(tensor, _TENSOR_SHAPE, number_types.Int64Flags)]
    element = tensor.Get(number_types.Int32Flags, tensor.Pos + tensor.Offset(_TENSOR_TYPE))
    raw = _vector(tensor, _TENSOR_BYTES, number_types.Uint8Flags)
    return np.frombuffer(raw.tobytes(), _ELEMENTS[element]).reshape(shape)


def _child(table: Table, slot: int) -> Table:
    return Table(table.Bytes, table.Indirect(table.Pos + table.Offset(slot)))


def _children(table: Table, slot: int) -> Iterator[Table]:
    for at in _offsets(table, slot):
        yield Table(table.Bytes, table.Indirect(at))


def _texts(table: Table, slot: int) -> Iterator[str]:
    for at in _offsets(table, slot):
        yield table.String(at).decode()


def _text(table: Table, slot: int) -> str:
    return table.String(table.Pos + table.Offset(slot)).decode()


def _offsets(table: Table, slot: int) -> Iterator[int]:
    """Where the entries of a vector of offsets lie; none where the field is absent."""
    if field := table.Offset(slot):
        start = table.Vector(field)
        yield from range(start, start + 4 * table.VectorLen(field), 4)


def _vector(table: Table, slot: int, element: type) -> Array:
    field = table.Offset(slot)
    return table.GetVectorAsNumpy(element, field) if field else np.empty(0, np.uint8)
