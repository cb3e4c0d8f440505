"""community-1's embedding network as a pyannote checkpoint, from the int8 graph that moonshine-voice carries."""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from turnstream.weights.ort import Array, Graph, Node

EPSILON = 1e-5
"""What batch normalisation adds to the variance."""


def save_checkpoint(graph: Graph, path: Path) -> None:
    """Write the network of `graph` to `path` as pyannote's `Model.from_pretrained` reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyannote and its dependencies warn of what is of no use here
        import torch
        from pyannote.audio.core.task import Problem, Resolution, Specifications
        from pyannote.audio.models.embedding import WeSpeakerResNet34

        model = WeSpeakerResNet34()
        model.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0, classes=None
        )
    arrays = parameters(graph)
    state = {
        name: torch.from_numpy(arrays[name] if name in arrays else _identity(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    if unused := arrays.keys() - state.keys():
        raise ValueError(f"the network has no place for {', '.join(sorted(unused))}")
    model.load_state_dict(state)
    checkpoint: dict[str, Any] = {
        "state_dict": state,
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": version("lightning"),
    }
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)


def parameters(graph: Graph) -> dict[str, Array]:
    """The network's parameters under the names of pyannote's `WeSpeakerResNet34`.

    Batch normalisation is folded into the convolutions before it: of each there is only a bias left.
    """
    tensors = dequantised(graph.tensors)
    found = {f"resnet.seg_1.{part}": tensors[f"resnet.seg_1.{part}"] for part in ("weight", "bias")}
    for node in graph.nodes:
        if node.operator == "Conv":
            convolution = _module(node)
            weight, bias = (tensors[name.removesuffix("_add_tensor")] for name in node.inputs[1:3])
            found[f"{convolution}.weight"] = weight
            found[f"{_normalisation(convolution)}.bias"] = bias
    return {name: np.array(value) for name, value in found.items()}


def dequantised(tensors: dict[str, Array]) -> dict[str, Array]:
    """Weights are stored as int8 `q` with a float `scale` and `zero_point`: they are `q * scale + zero_point`."""
    plain: dict[str, Array] = {}
    for name, value in tensors.items():
        if name.endswith("_quantized"):
            base = name.removesuffix("_quantized")
            plain[base] = value.astype(np.float32) * tensors[f"{base}_scale"] + tensors[f"{base}_zero_point"]
        elif not name.endswith(("_scale", "_zero_point")):
            plain[name] = value
    return plain


def _module(convolution: Node) -> str:
    """`/resnet/layer2/layer2.0/conv1/Conv_output_0` is the output of `resnet.layer2.0.conv1`.

    A container is named twice, alone and again before the index of its child.
    """
    parts = convolution.outputs[0].strip("/").split("/")[:-1]
    follows = [*parts[1:], ""]
    return ".".join(part for part, child in zip(parts, follows, strict=True) if not child.startswith(f"{part}."))


def _normalisation(convolution: str) -> str:
    if convolution.endswith("shortcut.0"):
        return convolution.removesuffix("0") + "1"
    return convolution.replace("conv", "bn")


def _identity(name: str, shape: tuple[int, ...]) -> Array:
    """What batch normalisation needs to do nothing but add its bias."""
    match name.rpartition(".")[2]:
        case "weight" if len(shape) == 1:
            return np.ones(shape, np.float32)
        case "running_mean":
            return np.zeros(shape, np.float32)
        case "running_var":
            return np.full(shape, 1.0 - EPSILON, np.float32)
        case "num_batches_tracked":
            return np.zeros(shape, np.int64)
        case _:
            raise ValueError(f"the open weights have no {name}")
