"""The embedding network as two parts: frames of a waveform, and a vector from the frames of each speaker."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from processor.engines.diarize.pooling import pool
from processor.engines.diarize.trunk import Trunk


class VoiceNetwork:
    """WeSpeaker's ResNets through `Trunk` and `pool`; any other network of pyannote.audio as it is."""

    def __init__(self, embedding: Any, *, tf32: bool = False) -> None:
        """`embedding` is pyannote's PyannoteAudioPretrainedSpeakerEmbedding, which goes on holding the network. `tf32`: on
        CUDA, its convolutions may round their operands to 10 bits."""
        self._tf32 = tf32
        self._embedding = embedding
        self._model = embedding.model_
        self.dimension: int = embedding.dimension
        self._trunk = Trunk(self._model) if Trunk.fits(self._model) else None

    @property
    def device(self) -> Any:
        return self._embedding.device

    @property
    def in_parts(self) -> bool:
        """Whether frames can be shared between windows, as fast mode does."""
        return self._trunk is not None

    def to(self, device: str, layout: torch.memory_format) -> None:
        if self._trunk is not None:
            self._trunk.to(device)
            self._trunk.arrange(layout)

    def __call__(self, waveforms: Tensor, masks: Tensor) -> Tensor:
        """A vector for each speaker of each row: (batch, 1, samples) and (batch, speakers, any time) to (batch, speakers,
        dimension)."""
        if self._trunk is None:
            with _tf32(self._tf32):
                return self._model(waveforms, weights=masks)
        return self.vectors(self.frames(self.filter_banks(waveforms)), masks)

    # Its parts

    def filter_banks(self, waveforms: Tensor) -> Tensor:
        """(batch, 1, samples) to (batch, time, mels), 100 a second, less their mean over the waveform."""
        return self._model.compute_fbank(waveforms)

    def frames(self, filter_banks: Tensor) -> Tensor:
        """(batch, time, mels) to (batch, features, time), 12.5 a second."""
        assert self._trunk is not None  # noqa: S101 - only a network `in_parts` is asked
        with _tf32(self._tf32):
            return self._trunk(filter_banks)

    def vectors(self, frames: Tensor, masks: Tensor) -> Tensor:
        """(batch, features, time) and (batch, speakers, any time) to (batch, speakers, dimension)."""
        resnet = self._model.resnet
        vectors = resnet.seg_1(pool(frames, masks))
        if not resnet.two_emb_layer:
            return vectors
        return resnet.seg_2(resnet.seg_bn_1(torch.relu(vectors).transpose(1, 2)).transpose(1, 2))


@contextmanager
def _tf32(allowed: bool) -> Generator[None]:
    """Torch allows it by default, for the whole process: the segmentation network must not have it."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
