"""The embedding network up to its pooling, rewritten to compute the same with less traffic through memory."""

from typing import Any

import torch
from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet
from pyannote.audio.models.embedding.wespeaker.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


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
        """Of the weights, and of the images that are made of filter banks."""
        self._layout: torch.memory_format = layout
        self.to(memory_format=layout)

    def forward(self, features: Tensor) -> Tensor:
        """Of filter banks, (batch, time, mels): frames, (batch, features, time / 8)."""
        image = features.transpose(1, 2).unsqueeze(1).contiguous(memory_format=self._layout)
        return self.blocks(self.stem(image).relu_()).flatten(1, 2)

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
        around = image if self.shortcut is None else self.shortcut(image)
        return self.second(self.first(image).relu_()).add_(around).relu_()


def _folded(convolution: Any, norm: Any) -> Any:
    return fuse_conv_bn_eval(convolution.eval(), norm.eval())
