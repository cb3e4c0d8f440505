"""The embedding network up to its pooling, rewritten to compute the same with less traffic through memory."""

from typing import Any

import torch
from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet
from pyannote.audio.models.embedding.wespeaker.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from processor.engines.diarize.winograd import Winograd


class Trunk(nn.Module):
    """WeSpeaker's ResNet of basic blocks: batch norms folded into the convolutions before them, and in place what can be.

    Takes over the layers of `network`, which is of no use of its own any more.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        resnet = network.resnet
        self.stem = _folded(resnet.conv1, resnet.bn1)
        layers = (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)
        self.blocks = nn.Sequential(*(Block(block) for layer in layers for block in layer))
        for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"):
            setattr(resnet, name, None)
        self.arrange(torch.contiguous_format)

    def arrange(self, layout: torch.memory_format) -> None:
        """Of the weights, where they are now, and of the images that are made of filter banks."""
        self._layout: torch.memory_format = layout
        self.to(memory_format=layout)
        for module in self.modules():
            if isinstance(module, Convolution):
                module.pack()

    def forward(self, features: Tensor) -> Tensor:
        """Of filter banks, (batch, time, mels): frames, (batch, features, time / 8)."""
        image = features.transpose(1, 2).unsqueeze(1).contiguous(memory_format=self._layout)
        return self.blocks(self.stem.rectified(image)).flatten(1, 2)

    @staticmethod
    def fits(network: Any) -> bool:
        resnet: Any = network.resnet if isinstance(network, BaseWeSpeakerResNet) else None
        return resnet is not None and all(isinstance(block, BasicBlock) for block in resnet.layer1)


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.first = _folded(block.conv1, block.bn1)
        self.second = _folded(block.conv2, block.bn2)
        self.shortcut = _folded(*block.shortcut) if len(block.shortcut) else None

    def forward(self, image: Tensor) -> Tensor:
        """Writes over `image` where nothing else is on the way around."""
        around = image if self.shortcut is None else self.shortcut(image)
        return self.second.added(self.first.rectified(image), around)


class Convolution(nn.Module):
    """A convolution with what follows it, for inference alone.

    On x86 oneDNN does both in one pass over memory, with weights that were laid out for it once, and `Winograd` where that is
    faster.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.plain = plain
        self._where = (plain.padding, plain.stride, plain.dilation, plain.groups)
        self._packed: Tensor | None = None
        self._winograd: Winograd | None = None

    def pack(self) -> None:
        """To be called again when the weights have moved."""
        self._packed = self._winograd = None
        weight = self.plain.weight.detach()
        if not _fuses() or weight.device.type != "cpu":
            return
        if Winograd.fits(self.plain):
            self._winograd = Winograd(self.plain)
        else:
            lay_out: Any = torch.ops.aten.mkldnn_reorder_conv2d_weight
            self._packed = lay_out(weight.to_mkldnn(), *self._where)

    def forward(self, image: Tensor) -> Tensor:
        return self.plain(image) if self._packed is None else self._pass(image, "none")

    def rectified(self, image: Tensor) -> Tensor:
        if self._winograd is not None:
            return self._winograd(image)
        return self.plain(image).relu_() if self._packed is None else self._pass(image, "relu")

    def added(self, image: Tensor, around: Tensor) -> Tensor:
        """The rectified sum; it may be written over `around`."""
        if self._winograd is not None:
            return self._winograd(image, around)
        if self._packed is None:
            return self.plain(image).add_(around).relu_()
        fused = torch.ops.mkldnn._convolution_pointwise_.binary
        return fused(around, image, self._packed, self.plain.bias, *self._where, "add", 1.0, "relu", [], "")

    def _pass(self, image: Tensor, then: str) -> Tensor:
        fused = torch.ops.mkldnn._convolution_pointwise.default
        return fused(image, self._packed, self.plain.bias, *self._where, then, [], "")


def _fuses() -> bool:
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def _folded(convolution: Any, norm: Any) -> Convolution:
    return Convolution(fuse_conv_bn_eval(convolution.eval(), norm.eval()))
