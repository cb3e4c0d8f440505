"""The two binary formats that the open pack is read from."""

import numpy as np
import pytest

from tests.support.weights import make_graph, make_library
from turnstream.weights import elf, ort


def test_exported_objects_are_cut_out_of_a_library():
    library = make_library({"first": b"one", "second": b"two!", "third": b"three"})
    assert elf.exported_objects(library, ["first", "third"]) == {"first": b"one", "third": b"three"}


@pytest.mark.parametrize("name", ["absent", "a_function"])
def test_an_object_that_is_not_exported_is_named(name: str):
    with pytest.raises(KeyError, match=name):
        elf.exported_objects(make_library({"first": b"one"}), ["first", name])


def test_a_graph_gives_its_tensors_and_nodes():
    tensors = {
        "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "quantised": np.array([-128, 0, 127], np.int8),
        "axes": np.array([1, -1], np.int64),
        "scalar": np.array(2.5, np.float32),
    }
    nodes = [ort.Node("Conv", ("in", "weight", ""), ("out",)), ort.Node("Relu", (), ("out", "again"))]

    graph = ort.read(make_graph(tensors, nodes))

    assert graph.nodes == tuple(nodes)
    assert graph.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        assert graph.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(graph.tensors[name], value)


def test_what_is_no_graph_is_refused():
    with pytest.raises(ValueError, match="ONNX Runtime"):
        ort.read(b"\x08\0\0\0ONNX" + b"\0" * 16)
