import numpy as np
import pytest

from turnstream.weights.embedding import dequantised, parameters
from turnstream.weights.ort import Graph, Node


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_dequantising_scales_and_adds_the_zero_point():
    tensors = {
        "w_quantized": np.array([-2, 0, 3], np.int8),
        "w_scale": array(0.5),
        "w_zero_point": array(1.0),
        "bias": array(7.0),
    }
    plain = dequantised(tensors)
    assert plain.keys() == {"w", "bias"}
    np.testing.assert_array_equal(plain["w"], array(0.0, 1.0, 2.5))


@pytest.mark.parametrize(
    ("output", "convolution", "normalisation"),
    [
        ("/resnet/conv1/Conv_output_0", "resnet.conv1", "resnet.bn1"),
        ("/resnet/layer2/layer2.0/conv2/Conv_output_0", "resnet.layer2.0.conv2", "resnet.layer2.0.bn2"),
        (
            "/resnet/layer3/layer3.0/shortcut/shortcut.0/Conv_output_0",
            "resnet.layer3.0.shortcut.0",
            "resnet.layer3.0.shortcut.1",
        ),
    ],
)
def test_a_convolution_gives_its_weight_and_the_bias_of_the_normalisation_after_it(output, convolution, normalisation):
    seg = {"resnet.seg_1.weight": array(1), "resnet.seg_1.bias": array(2)}
    tensors = {
        **seg,
        "c_quantized": np.array([4], np.int8),
        "c_scale": array(1),
        "c_zero_point": array(0),
        "b": array(5),
    }
    nodes = (Node("Conv", ("x", "c_add_tensor", "b"), (output,)), Node("Relu", (output,), ("y",)))

    found = parameters(Graph(tensors, nodes))

    assert found == {**seg, f"{convolution}.weight": array(4), f"{normalisation}.bias": array(5)}
